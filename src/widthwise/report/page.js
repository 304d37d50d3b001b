"use strict";
(() => {
  const payload = JSON.parse(document.getElementById("figure-data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const boxes = [...document.querySelectorAll("input[data-prescription]")];
  const drawn = new Map();
  const gap = 24;
  const axisRoom = 66;
  const narrowest = 230;

  const visible = () => boxes.filter((box) => box.checked).map((box) => box.dataset.prescription);

  function fitted(spec, room, panels, correction) {
    const copy = structuredClone(spec);
    if (boxes.length > 0) {
      copy.transform = [{ filter: { field: "prescription", oneOf: visible() } }, ...(copy.transform ?? [])];
    }
    if (copy.facet) {
      const columns = Math.max(1, Math.min(panels.shown, 4, Math.floor((room - axisRoom) / (narrowest + gap))));
      const width = Math.floor((room - axisRoom - gap * (columns - 1)) / columns - correction);
      copy.columns = columns;
      copy.resolve = panels.shown > columns ? { axis: { x: "independent" } } : {};
      copy.spec.width = Math.max(160, Math.min(width, 620));
      copy.facet.header.labelLimit = copy.spec.width;
    } else {
      copy.width = "container";
      copy.autosize = { type: "fit-x", contains: "padding" };
      copy.height = (copy.height / panels.total) * panels.shown;
    }
    return copy;
  }

  async function draw(element) {
    const spec = payload.figures[element.dataset.figure];
    const room = element.clientWidth;
    const shown = boxes.length > 0 ? visible().length : 1;
    const panels = { shown, total: Math.max(boxes.length, 1) };
    element.hidden = shown === 0;
    if (shown === 0) return;
    const config = structuredClone(dark.matches ? payload.dark : payload.light);
    config.background = "transparent";
    if (room < 520) config.axisY = { labelLimit: 140 };
    const options = { renderer: "svg", config, actions: { export: true, source: false, compiled: false, editor: false } };
    let correction = 0;
    let result = drawn.get(element);
    for (let attempt = 0; attempt < 5; attempt += 1) {
      result?.finalize();
      result = await vegaEmbed(element, fitted(spec, room, panels, correction), options);
      const excess = element.querySelector("svg").getBoundingClientRect().width - room;
      if (!spec.facet || excess <= 0) break;
      if (attempt < 2 && result.spec.columns === 1) config.legend.columns = 2 - attempt;
      else correction += Math.ceil(excess / result.spec.columns) + 1;
    }
    drawn.set(element, result);
    element.dataset.drawn = "yes";
  }

  let drawing = Promise.resolve();
  let wanted = 0;

  function drawAll() {
    wanted += 1;
    const mine = wanted;
    drawing = drawing.then(async () => {
      for (const element of document.querySelectorAll("[data-figure]")) {
        if (mine === wanted) await draw(element);
      }
      document.documentElement.dataset.ready = "yes";
    });
  }

  let lastWidth = document.documentElement.clientWidth;
  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      if (document.documentElement.clientWidth === lastWidth) return;
      lastWidth = document.documentElement.clientWidth;
      drawAll();
    }, 200);
  });
  dark.addEventListener("change", drawAll);
  for (const box of boxes) box.addEventListener("change", drawAll);
  drawAll();
})();
