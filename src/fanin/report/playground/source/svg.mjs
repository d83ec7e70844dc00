// Elements of a drawing; text goes in as text, never as markup.

const SPACE = "http://www.w3.org/2000/svg";

const filled = (element, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

export const svg = (tag, attributes = {}, ...children) =>
  filled(document.createElementNS(SPACE, tag), attributes, children);
export const html = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);

// Path data through points; null lifts the pen.
export function path(points) {
  let data = "",
    pen = "M";
  for (const point of points) {
    if (point) data += `${pen}${point[0].toFixed(1)} ${point[1].toFixed(1)}`;
    pen = point ? "L" : "M";
  }
  return data;
}
