// What the page looks like, written into the document so that --dump-dom tells it.
const box = (node) => { const b = node.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; };
const solid = (node) => {
  for (; node; node = node.parentElement) {
    const c = getComputedStyle(node).backgroundColor;
    if (c !== "rgba(0, 0, 0, 0)") return c;
  }
  return "rgb(255, 255, 255)";
};
const light = (c) => {
  const [r, g, b] = c.match(/[\d.]+/g).slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
const facts = { width: innerWidth, wide: document.documentElement.scrollWidth, cards: [], charts: [], contrasts: [], sizes: [] };
for (const card of document.querySelectorAll("section.card")) facts.cards.push({ kind: card.className, box: box(card) });
for (const chart of document.querySelectorAll("figure.chart")) {
  if (!chart.checkVisibility()) continue;
  const area = chart.querySelector("svg.area");
  facts.charts.push({
    area: box(area), plot: box(area.querySelector("svg.plot")), marks: [...area.querySelectorAll("text.mark")].map(box),
    labels: [...chart.querySelectorAll("svg.labels text")].map(box), curves: [...area.querySelectorAll(".curve")].map(box),
  });
}
for (const node of document.querySelectorAll("h1, h2, h3, p, b, .word, li, dt, dd, td, summary, figcaption span, .chart text")) {
  if (!node.checkVisibility() || !node.textContent.trim()) continue;
  const style = getComputedStyle(node);
  facts.contrasts.push([contrast(node instanceof SVGElement ? style.fill : style.color, solid(node)), node.tagName + "." + (node.className.baseVal ?? node.className)]);
  facts.sizes.push(parseFloat(style.fontSize));
}
const first = document.querySelector("figure.chart"), area = first.querySelector("svg.area"), plot = area.querySelector("svg.plot");
const [left, , right] = box(area), at = (share) => left + share * (right - left);
const fire = (type, share) => area.dispatchEvent(new PointerEvent(type, { clientX: at(share), clientY: 0, pointerId: 1, pointerType: "touch", bubbles: true }));
const ticks = () => [...first.querySelectorAll(".grid text")].map((node) => node.textContent).join("|");
facts.before = [plot.getAttribute("viewBox"), ticks()];
fire("pointermove", 0.5);
facts.read = first.querySelector(".read").textContent;
fire("pointerdown", 0.25); fire("pointermove", 0.4); fire("pointerup", 0.5);
facts.zoomed = [plot.getAttribute("viewBox"), ticks(), first.querySelector(".back").hidden];
first.querySelector(".back").click();
facts.after = [plot.getAttribute("viewBox"), ticks()];
const out = document.createElement("pre");
out.id = "facts"; out.textContent = JSON.stringify(facts);
document.body.append(out);
