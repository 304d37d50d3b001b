"use strict";
(() => {
  const payload = JSON.parse(document.getElementById("figure-data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const boxes = [...document.querySelectorAll("input[data-axis]")];
  const moreLines = [...document.querySelectorAll(".more-line")];
  const charts = [...document.querySelectorAll("[data-figure]")];
  const drawn = new Map();
  const gap = 24;
  const axisRoom = 66;
  const narrowest = 230;
  const { names } = payload;
  const atOnce = payload.panels;
  let limit = atOnce;

  // What is chosen: an arm passes if all of its parts are, an axis without boxes takes everything.
  function chosen(axis) {
    const group = boxes.filter((box) => box.dataset.axis === axis);
    return group.length ? new Set(group.filter((box) => box.checked).map((box) => box.value)) : null;
  }

  function selection() {
    const axes = [...new Set(boxes.map((box) => box.dataset.axis))].filter((axis) => axis !== "width");
    const wanted = axes.map((axis) => [axis, chosen(axis)]);
    const passing = names.filter((name) => wanted.every(([axis, set]) => set.has(payload.arms[name][axis])));
    return { passing: new Set(passing), shown: new Set(passing.slice(0, limit)), widths: chosen("width") };
  }

  function field(column, k) {
    return Array.isArray(column) ? column[k] : column.of[column.at[k]];
  }

  function length(column) {
    return Array.isArray(column) ? column.length : column.at.length;
  }

  // The rows of a figure that pass, built anew each time: a page holds each number once.
  function rows(tables, keep, widths) {
    const found = [];
    for (const table of tables) {
      const columns = Object.entries(table);
      const { prescription, width } = table;
      for (let k = 0; k < length(columns[0][1]); k += 1) {
        if (prescription && !keep.has(field(prescription, k))) continue;
        if (widths && width && !widths.has(String(field(width, k)))) continue;
        const row = {};
        for (const [name, column] of columns) row[name] = field(column, k);
        found.push(row);
      }
    }
    return found;
  }

  function fitted(figure, data, room, panels, widths, correction) {
    const copy = structuredClone(figure.spec);
    copy.datasets = { rows: data };
    // A width has the same colour whatever is chosen: its scale knows them all, the legend names those that are shown.
    const named = copy.params?.find((param) => param.name === "widths_shown");
    if (named && widths) named.value = named.value.filter((width) => widths.has(String(width)));
    if (copy.facet) {
      const columns = Math.max(1, Math.min(panels.shown, 4, Math.floor((room - axisRoom) / (narrowest + gap))));
      const width = Math.floor((room - axisRoom - gap * (columns - 1)) / columns - correction);
      copy.columns = columns;
      const { scale } = copy.resolve ?? {};
      copy.resolve = { ...(scale && { scale }), ...(panels.shown > columns && { axis: { x: "independent" } }) };
      copy.spec.width = Math.max(160, Math.min(width, 620));
      copy.facet.header.labelLimit = copy.spec.width;
    } else {
      copy.width = "container";
      copy.autosize = { type: "fit-x", contains: "padding" };
      if (figure.rising) copy.height = (copy.height / panels.total) * panels.shown;
    }
    return copy;
  }

  async function draw(element) {
    const figure = payload.figures[element.dataset.figure];
    const { passing, shown, widths } = selection();
    const keep = figure.paged ? shown : passing;
    const data = rows(figure.tables, keep, widths);
    const room = element.clientWidth;
    const facets = new Set(data.map((row) => row.panel)).size;
    const panels = { shown: figure.spec.facet ? facets : keep.size, total: Math.max(names.length, 1) };
    element.hidden = data.length === 0;
    element.dataset.drawn = "yes";
    if (data.length === 0) return;
    const config = structuredClone(dark.matches ? payload.dark : payload.light);
    config.background = "transparent";
    if (room < 520) {
      config.axisY = { labelLimit: 140 };
      config.legend.labelLimit = room - 120;
      if (!figure.spec.facet) config.legend.columns = 2;
    }
    // Of a panel without rows of some kind Vega says that their extent is infinite, which is so.
    const logLevel = 1;
    const options = { logLevel, renderer: "svg", config, actions: { export: true, source: false, compiled: false, editor: false } };
    let correction = 0;
    let result = drawn.get(element);
    for (let attempt = 0; attempt < 5; attempt += 1) {
      result?.finalize();
      result = await vegaEmbed(element, fitted(figure, data, room, panels, widths, correction), options);
      const excess = element.querySelector("svg").getBoundingClientRect().width - room;
      if (!figure.spec.facet || excess <= 0) break;
      if (attempt < 2 && result.spec.columns === 1) config.legend.columns = 2 - attempt;
      else correction += Math.ceil(excess / result.spec.columns) + 1;
    }
    drawn.set(element, result);
    element.style.minHeight = "";
  }

  // Table rows of prescriptions and widths that are not shown are hidden, and the page says how many are.
  function filterTables() {
    const { passing, shown, widths } = selection();
    for (const row of document.querySelectorAll("tr[data-prescription], tr[data-width]")) {
      const arm = row.dataset.prescription;
      const width = row.dataset.width;
      row.hidden = (arm !== undefined && !shown.has(arm)) || Boolean(widths && width && !widths.has(width));
    }
    for (const line of moreLines) {
      line.querySelector("button").hidden = shown.size === passing.size;
      const rest = passing.size === names.length ? "" : ` chosen from ${names.length}`;
      line.querySelector("span").textContent = `${shown.size} of ${passing.size} prescriptions${rest} are shown.`;
    }
  }

  let drawing = Promise.resolve();
  let wanted = 0;
  const near = new Set();

  // On a small page everything is drawn at once; on a large one what is near the window, as it comes near.
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (!isIntersecting) near.delete(target);
        else if (!near.has(target)) {
          near.add(target);
          if (!target.dataset.drawn) later([target]);
        }
      }
    },
    { rootMargin: "600px" },
  );

  function later(elements) {
    const mine = wanted;
    drawing = drawing.then(async () => {
      for (const element of elements) if (mine === wanted) await draw(element);
      if (mine === wanted) document.documentElement.dataset.ready = "yes";
    });
  }

  function drawAll() {
    wanted += 1;
    delete document.documentElement.dataset.ready;
    filterTables();
    for (const element of charts) {
      delete element.dataset.drawn;
      element.hidden = false;
    }
    later(names.length > atOnce ? charts.filter((element) => near.has(element)) : charts);
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
  for (const box of boxes) {
    box.addEventListener("change", () => {
      limit = atOnce;
      drawAll();
    });
  }
  for (const line of moreLines) {
    line.querySelector("button").addEventListener("click", () => {
      limit += atOnce;
      drawAll();
    });
  }
  if (names.length > atOnce) {
    for (const element of charts) {
      element.style.minHeight = "320px";
      watcher.observe(element);
    }
  }
  drawAll();
})();
