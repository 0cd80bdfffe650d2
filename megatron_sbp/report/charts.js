// Draws the charts of the page, each from the attribute data-chart of its element.
"use strict";
{
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const printed = matchMedia("print");
  const finger = matchMedia("(pointer: coarse)");
  const config = {
    scrollZoom: false, // the wheel belongs to the page
    displayModeBar: matchMedia("(hover: hover)").matches && "hover",
    displaylogo: false,
    modeBarButtons: [["zoom2d", "pan2d", "autoScale2d", "resetScale2d", "toImage"]],
  };

  // Colors are in style.css only.
  function colored(text) {
    const style = getComputedStyle(document.documentElement);
    const look = (value) => value.replace(/^var\((--[\w-]+)\)$/, (_, name) => style.getPropertyValue(name).trim());
    return JSON.parse(text, (key, value) => {
      if (!key.endsWith("color")) return value;
      return Array.isArray(value) ? value.map(look) : look(value);
    });
  }

  // A legend has as many rows as the width asks for, which is known once it is drawn: the chart's own height is without.
  function draw(box) {
    const { data, layout } = colored(box.dataset.chart);
    const legend = () => Math.ceil(box.querySelector(".legend .bg")?.getBoundingClientRect().height ?? 0);
    const guess = layout.showlegend ? legend() || 200 : 0; // plotly fails where a legend leaves no room
    const height = layout.height;
    const font = { family: getComputedStyle(document.body).fontFamily };
    Object.assign(layout, { font, hoverlabel: { font }, dragmode: finger.matches ? false : "zoom" }); // a finger scrolls
    Plotly.react(box, data, { ...layout, width: box.clientWidth, height: height + guess }, {
      ...config,
      toImageButtonOptions: { filename: box.getAttribute("aria-label"), scale: 2 },
    });
    if (legend() !== guess) Plotly.relayout(box, { height: height + legend() });
    for (const button of box.querySelectorAll(".modebar-btn")) button.tabIndex = -1; // charts take no keyboard focus
  }

  // Hidden ones have no width; they are drawn when they are shown.
  const drawAll = () => [...document.querySelectorAll("[data-chart]")].filter((box) => box.clientWidth).forEach(draw);
  drawAll();
  addEventListener("chosen", drawAll);
  for (const query of [dark, printed, finger]) query.addEventListener("change", drawAll);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) requestAnimationFrame(drawAll); // not when a phone hides its address bar
    width = innerWidth;
  });
}
