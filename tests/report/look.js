// What a reader meets: colours of text on their background, overflow, the order of the Tab key.
addEventListener("load", () => {
const luminance = c => {
  const [r, g, b] = c.map(v => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const parts = text => text.match(/[\d.]+/g).map(Number);
const behind = e => {
  for (; e; e = e.parentElement) {
    const c = parts(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0.99) return c.slice(0, 3);
  }
  return [255, 255, 255];
};
for (const d of document.querySelectorAll("details")) d.open = true;
const pale = [], small = [];
let texts = 0;
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const e = walker.currentNode.parentElement, words = walker.currentNode.data.trim();
  if (!words || ["SCRIPT", "STYLE", "title", "desc"].includes(e.tagName)) continue;
  texts += 1;
  const style = getComputedStyle(e), size = parseFloat(style.fontSize);
  const ink = parts(e.closest("svg") ? style.fill : style.color);
  const [a, b] = [luminance(ink.slice(0, 3)), luminance(behind(e))].sort((x, y) => y - x);
  const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
  if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) pale.push(words.slice(0, 40));
  if (size < 10) small.push(words.slice(0, 40));
}
const reached = [...document.querySelectorAll("a[href], summary, [tabindex='0']")];
const name = e => e.getAttribute("aria-label") || e.textContent.trim();
const result = {
  width: document.documentElement.scrollWidth,
  sideways: [...document.querySelectorAll(".wide")].filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.slice(0, 40)),
  pale, small, texts,
  pictures: document.images.length,
  broken: [...document.images].filter(i => !i.complete || !i.naturalWidth).length,
  folded: document.querySelectorAll("details").length,
  focus: reached.map(e => (e.tagName === "SUMMARY" ? "summary:" : "") + name(e)),
  unnamed: reached.filter(e => !name(e)).map(e => e.outerHTML.slice(0, 80)),
};
const out = document.createElement("pre");
out.id = "looked";
out.textContent = JSON.stringify(result);
document.body.append(out);
});
