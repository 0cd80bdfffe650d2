// Shows one of several panels, such as those of the synthesizers of a run; without this script all are shown.
"use strict";
for (const choice of document.querySelectorAll(".choice")) {
  const select = choice.querySelector("select");
  const panels = [...choice.querySelectorAll(".panel")];
  const show = () => panels.forEach((panel, place) => (panel.hidden = place !== select.selectedIndex));
  choice.classList.add("live");
  show();
  select.addEventListener("change", () => {
    show();
    dispatchEvent(new Event("chosen")); // charts that were hidden are drawn now
  });
}
