// Makes elements. Text becomes text nodes and nothing else: what a board sent can never become markup.

const SVG = "http://www.w3.org/2000/svg";

// An element with attributes and children: strings, numbers, nodes, lists of these; null is left out.
// Attributes: "class", any name with a string, a boolean (there or not), null (not there), `on: {event: handler}`.
export function h(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

// The same for SVG.
export function svg(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

// Makes these the only children of an element.
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

// Sets a text only where it is another one: a screen reader is not told again, and nothing is laid out anew.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Sets a class list only where it is another one.
export function setClass(element, name) {
  if (element.className !== name) element.className = name;
}

// A button.
export function button(label, action, attributes) {
  return h("button", { type: "button", ...attributes, on: { click: action } }, label);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...nodes(children));
  return element;
}

function nodes(children) {
  return children.flat(3).filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}
