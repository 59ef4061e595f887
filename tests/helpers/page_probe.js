// What a browser sees of a page: what is cut, what is pale, and whether its filters work.
const colour = (text) => (text.match(/[\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
const ground = (view, e) => { for (; e; e = e.parentElement) { const c = colour(view.getComputedStyle(e).backgroundColor);
  if (c.length === 3 || c[3] > .9) return c; } return [255, 255, 255]; };
const contrast = (view, e) => { const [a, b] = [light(colour(view.getComputedStyle(e).color)), light(ground(view, e))];
  return (Math.max(a, b) + .05) / (Math.min(a, b) + .05); };
const told = (e) => e.tagName + "." + (e.className.baseVal ?? e.className) + ": " + e.textContent.trim().slice(0, 40);
function look(view) {
  const page = view.document, cut = [], pale = [];
  for (const e of page.querySelectorAll("details")) e.open = true;
  for (const e of page.querySelectorAll("body *")) {
    const style = view.getComputedStyle(e), box = e.getBoundingClientRect();
    if (!box.width || style.visibility === "hidden" || e.closest("select")) continue;
    if (box.right > view.innerWidth + .5 || box.left < -.5) cut.push(told(e));
    if (!(e instanceof view.SVGElement) && style.overflowX !== "visible" && e.scrollWidth > e.clientWidth + 1) cut.push(told(e));
    if (!(e instanceof view.SVGElement) && e.clientWidth && e.scrollWidth > e.clientWidth + 2) cut.push("spills " + told(e));
    if (e.tagName === "text") {
      const frame = e.closest("svg").getBoundingClientRect();
      if (box.left < frame.left - .5 || box.right > frame.right + .5 || box.bottom > frame.bottom + 1) cut.push(told(e));
    }
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (own && !(e instanceof view.SVGElement) && !e.closest(".confusion") && contrast(view, e) < 4.5) pale.push(told(e) + contrast(view, e));
  }
  return { inner: view.innerWidth, wide: page.documentElement.scrollWidth, cut, pale };
}
function filters(view) {
  const page = view.document;
  const pick = (id, value) => { const s = page.getElementById(id); s.value = value; s.dispatchEvent(new view.Event("change")); };
  const visible = () => [...page.querySelectorAll(".example")].filter((e) => e.offsetParent !== null);
  const said = { all: visible().length };
  pick("by-attack", "2"); said.attack = visible().map((e) => e.dataset.attack);
  pick("by-class", "7"); said.both = visible().map((e) => e.dataset.attack + e.dataset.class);
  pick("by-attack", ""); pick("by-class", ""); pick("order", "-1");
  said.order = visible().map((e) => Number(e.dataset.distance)); said.shown = page.getElementById("shown").textContent;
  const part = page.querySelector(".part");
  said.square = part.clientWidth > 50 && Math.abs(part.clientWidth - part.clientHeight) < 2;
  said.strip = view.getComputedStyle(part).backgroundImage.slice(5, -2);
  return said;
}
window.onload = async () => {
  const said = {};
  for (const f of document.querySelectorAll("iframe")) said[f.id] = look(f.contentWindow);
  const view = document.getElementById("light-390").contentWindow;
  const use = view.document.querySelector(".example") ? filters(view) : null, strip = new Image();
  if (use) { strip.src = use.strip; await strip.decode(); use.strip = [strip.naturalWidth, strip.naturalHeight]; }
  document.title = "SAID" + JSON.stringify({ ...said, use });
};
