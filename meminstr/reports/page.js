"use strict";
// Figures under the pointer and zoom, for charts that are complete without: drag to zoom, double click to go back.
(() => {
  const TIMES = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
  const BOTTOM = 22, SVG = "http://www.w3.org/2000/svg";
  const decimal = (v) => {
    const p = 10 ** Math.floor(Math.log10(v));
    return [1, 2, 5, 10].map((f) => f * p).find((s) => s >= v * (1 - 1e-9)) || 10 * p;
  };
  const step = (rough, kind) => {
    if (kind === "seconds" && rough >= 1) return TIMES.find((s) => s >= rough) || decimal(rough / 86400) * 86400;
    if (kind === "bytes" && rough >= 1) {
      const unit = 1024 ** Math.min(4, Math.floor(Math.log(rough) / Math.log(1024)));
      const eighth = [128, 256, 512, 1024].find((s) => s * unit >= rough && rough > 100 * unit);
      return unit * (eighth || decimal(rough / unit));
    }
    return decimal(kind === "seconds" ? rough : Math.max(rough, 1));
  };
  const ticks = (low, high, kind, about) => {
    const s = step((high - low) / about, kind), out = [];
    for (let n = Math.ceil(low / s - 1e-9); n * s <= high + s * 1e-9 && out.length < 50; n++) out.push(n * s);
    return out;
  };
  const three = (v) => (Math.abs(v) >= 99.5 ? v.toFixed(0) : String(Number(v.toPrecision(3))));
  const shown = (v, kind) => {
    if (kind === "bytes") {
      let i = 0;
      const units = ["B", "KiB", "MiB", "GiB", "TiB"];
      while (Math.abs(v) >= 999.5 && i < 4) { v /= 1024; i++; }
      return three(v) + " " + units[i];
    }
    if (kind === "count") return Math.abs(v) >= 10 ? Math.round(v).toLocaleString("en") : String(Math.round(v * 100) / 100);
    if (v === 0) return "0 s";
    if (v < 1) return (v * 1000).toFixed(0) + " ms";
    if (v < 59.5) return v < 9.95 ? v.toFixed(1).replace(".0", "") + " s" : v.toFixed(0) + " s";
    const pair = (n, size, a, b) => {
      const whole = Math.floor(n / size), rest = n % size;
      return whole + " " + a + (rest ? " " + rest + " " + b : "");
    };
    if (v < 3570) return v < 599.5 ? pair(Math.round(v), 60, "min", "s") : Math.round(v / 60) + " min";
    return v < 86400 ? pair(Math.round(v / 60), 60, "h", "min") : pair(Math.round(v / 3600), 24, "d", "h");
  };
  const make = (name, attributes, text) => {
    const node = document.createElementNS(SVG, name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (text) node.textContent = text;
    return node;
  };
  const span = (text) => {
    const [low, high, kind] = text.split(" ");
    return { low: Number(low), high: Number(high), kind };
  };

  for (const figure of document.querySelectorAll("figure.chart")) {
    const area = figure.querySelector("svg.area"), plot = figure.querySelector("svg.plot");
    const read = figure.querySelector(".read"), grid = figure.querySelector(".grid"), labels = figure.querySelector("svg.labels");
    const X = span(figure.dataset.x), Y = span(figure.dataset.y), TOP = Number(plot.getAttribute("y")), tall = Number(plot.getAttribute("height"));
    const curves = [...plot.querySelectorAll("polyline.curve")].reverse().map((line) => ({
      name: line.dataset.name,
      at: line.getAttribute("points").split(" ").map((pair) => {
        const [x, y] = pair.split(",").map(Number);
        return [X.low + (x / 1000) * (X.high - X.low), Y.low + (1 - y / 1000) * (Y.high - Y.low)];
      }),
    }));
    let x = { ...X }, y = { ...Y }, from = null;
    const back = document.createElement("button");
    back.className = "back";
    back.type = "button";
    back.textContent = "whole chart";
    back.hidden = true;
    figure.querySelector("figcaption").append(back);
    const cross = make("line", { class: "cross", y1: TOP, y2: TOP + tall, visibility: "hidden" });
    const picked = make("rect", { class: "picked", y: TOP, height: tall, visibility: "hidden" });
    area.append(cross, picked);

    const draw = () => {
      const scale = (v, d) => (1000 * (v - d.low)) / (d.high - d.low);
      const left = scale(x.low, X), right = scale(x.high, X), high = 1000 - scale(y.high, Y), low = 1000 - scale(y.low, Y);
      plot.setAttribute("viewBox", `${left} ${high} ${right - left} ${low - high}`);
      grid.replaceChildren();
      labels.replaceChildren();
      for (const v of ticks(y.low, y.high, Y.kind, 4)) {
        const at = TOP + tall * (1 - (v - y.low) / (y.high - y.low));
        grid.append(make("line", { x1: 0, x2: "100%", y1: at, y2: at, stroke: "currentColor", "stroke-opacity": 0.15 }));
        labels.append(make("text", { x: 56, y: at + 4, "text-anchor": "end" }, shown(v, Y.kind)));
      }
      for (const v of ticks(x.low, x.high, X.kind, 4)) {
        const share = (v - x.low) / (x.high - x.low);
        const anchor = share < 0.06 ? "start" : share > 0.94 ? "end" : "middle";
        grid.append(make("text", { x: 100 * share + "%", y: TOP + tall + BOTTOM - 5, "text-anchor": anchor }, shown(v, X.kind)));
      }
      for (const text of area.querySelectorAll("text.mark[data-at]")) {
        const share = (Number(text.dataset.at) - x.low) / (x.high - x.low);
        text.setAttribute("x", 100 * share + "%");
        text.setAttribute("visibility", share < 0 || share > 1 ? "hidden" : "visible");
      }
      const changed = x.low !== X.low || x.high !== X.high;
      for (const text of area.querySelectorAll("text.mark.limit")) text.setAttribute("visibility", changed ? "hidden" : "visible");
      back.hidden = !changed;
    };
    const zoom = (low, high) => {
      x = { ...x, low, high };
      const seen = curves.flatMap((c) => c.at.filter((p) => p[0] >= low && p[0] <= high).map((p) => p[1]));
      if (seen.length > 1) {
        const least = Math.min(...seen), most = Math.max(...seen), air = Math.max(0.08 * (most - least), (Y.high - Y.low) / 500);
        y = { ...y, low: least - air, high: most + air };
      }
      draw();
    };
    const reset = () => { x = { ...X }; y = { ...Y }; draw(); };
    const value = (event) => {
      const box = area.getBoundingClientRect();
      const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      return { share, at: x.low + share * (x.high - x.low) };
    };
    area.addEventListener("pointermove", (event) => {
      const here = value(event);
      cross.setAttribute("visibility", "visible");
      if (from !== null) {
        picked.setAttribute("visibility", "visible");
        picked.setAttribute("x", 100 * Math.min(from.share, here.share) + "%");
        picked.setAttribute("width", 100 * Math.abs(from.share - here.share) + "%");
      }
      const nearest = curves.map((c) => c.at.reduce((a, b) => (Math.abs(b[0] - here.at) < Math.abs(a[0] - here.at) ? b : a)));
      const share = (100 * (nearest[0][0] - x.low)) / (x.high - x.low) + "%";
      cross.setAttribute("x1", share);
      cross.setAttribute("x2", share);
      const figures = curves.map((c, i) => (curves.length > 1 ? c.name + " " : "") + shown(nearest[i][1], Y.kind));
      read.textContent = shown(nearest[0][0], X.kind) + ": " + figures.join(", ");
    });
    area.addEventListener("pointerdown", (event) => {
      from = value(event);
      if (event.pointerType !== "touch") area.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    area.addEventListener("pointerup", (event) => {
      const to = value(event);
      if (from !== null && Math.abs(from.share - to.share) > 0.02) zoom(Math.min(from.at, to.at), Math.max(from.at, to.at));
      from = null;
      picked.setAttribute("visibility", "hidden");
    });
    area.addEventListener("pointercancel", () => { from = null; picked.setAttribute("visibility", "hidden"); });
    area.addEventListener("pointerleave", () => {
      cross.setAttribute("visibility", "hidden");
      if (from === null) read.textContent = "";
    });
    area.addEventListener("dblclick", reset);
    back.addEventListener("click", reset);
  }
  document.documentElement.dataset.ready = String(document.querySelectorAll("figure.chart").length);
})();
