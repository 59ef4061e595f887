// Ctrl+K, or Cmd+K, goes to the search field, as "/" does; on a narrow screen it opens the drawer that holds it.
document.addEventListener("keydown", (event) => {
  const box = document.querySelector(".sidebar-search");
  if (!box || event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey) {
    return;
  }
  event.preventDefault();
  const drawer = document.getElementById("__navigation");
  if (drawer && box.getBoundingClientRect().right <= 0) {
    drawer.checked = true;
  }
  box.focus({ preventScroll: true });
  box.select();
});
document.addEventListener("DOMContentLoaded", () => {
  const box = document.querySelector(".sidebar-search");
  if (box) {
    box.placeholder += " (Ctrl+K)";
  }
});
// The excerpts of found pages leave out where a page is, which stands above its title.
document.addEventListener("DOMContentLoaded", () => {
  if (typeof Search !== "undefined") {
    const textOf = Search.htmlToText;
    Search.htmlToText = (page, anchor) => textOf(page.replace(/<nav class="crumbs"[^]*?<\/nav>/, ""), anchor);
  }
});
