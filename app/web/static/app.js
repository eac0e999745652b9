// Comforts on top of pages that work without them.
"use strict";

// A checkbox with data-all="NAME" ticks all boxes of that name in its form that can be seen.
document.addEventListener("change", (event) => {
  const name = event.target.dataset && event.target.dataset.all;
  if (!name) return;
  for (const box of event.target.form.querySelectorAll(`input[type=checkbox][name="${name}"]`)) {
    if (!box.disabled && box.offsetParent !== null) box.checked = event.target.checked;
  }
  count(event.target.form);
});

// An element with data-count="NAME" says how many of them are ticked.
function count(form) {
  for (const place of form.querySelectorAll("[data-count]")) {
    place.textContent = form.querySelectorAll(`input[name="${place.dataset.count}"]:checked`).length;
  }
}
document.addEventListener("change", (event) => event.target.form && count(event.target.form));

// What the server sends goes on when the connection does; until then the page says that it stands still.
document.addEventListener("htmx:sseError", () => document.body.classList.add("stale"));
document.addEventListener("htmx:sseOpen", () => document.body.classList.remove("stale"));
