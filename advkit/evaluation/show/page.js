(() => {
  const gallery = document.querySelector(".gallery");
  if (!gallery) return;
  const [attack, label, order] = ["by-attack", "by-class", "order"].map((id) => document.getElementById(id));
  const examples = [...gallery.children];
  const update = () => {
    examples.sort((a, b) => order.value * (a.dataset.distance - b.dataset.distance));
    let shown = 0;
    for (const e of examples) {
      e.hidden = (attack.value && e.dataset.attack !== attack.value) || (label.value && e.dataset.class !== label.value);
      shown += !e.hidden;
      gallery.append(e);
    }
    document.getElementById("shown").textContent = shown;
  };
  for (const control of [attack, label, order]) control.addEventListener("change", update);
  update();
})();
