// Scrolls through more lines than an element can be tall: browsers end at 17 to 33 million pixels, and round positions long
// before. Up to TALL pixels the element is as tall as its lines; above, the scroll bar is scaled, and wheel and keys still
// move by lines. Pure: the owner of the element hands in and takes out numbers.

// A hundred thousand lines: a bar's smallest step on a screen is more than a window of them either way.
const TALL = 2_000_000;

export class Scroll {
  constructor() {
    this.whole = 0;
    this.view = 0;
    this.top = 0;
    // What the element was told, or said, last.
    this.element = 0;
  }

  // So many pixels of lines, seen through so many.
  resize(whole, view) {
    this.whole = whole;
    this.view = view;
    this.moveTo(this.top);
  }

  // How tall the element is.
  get height() {
    return Math.min(this.whole, TALL);
  }

  get isScaled() {
    return this.whole > TALL;
  }

  get end() {
    return Math.max(0, this.whole - this.view);
  }

  // Where the element's own scroll position belongs.
  get position() {
    return this.isScaled ? Math.round((this.top / this.end) * (this.height - this.view)) : this.top;
  }

  moveTo(top) {
    this.top = Math.min(Math.max(0, top), this.end);
    this.element = this.position;
  }

  moveBy(distance) {
    this.moveTo(this.top + distance);
  }

  // The element was scrolled by its bar, or a finger. Returns whether it must be told where it belongs.
  scrolledTo(position) {
    if (Math.abs(position - this.element) < 1) return false;
    if (!this.isScaled) {
      this.top = position;
      this.element = position;
      return false;
    }
    const distance = position - this.element;
    this.element = position;
    const isEdge = position <= 0 || position >= this.height - this.view - 1;
    // A finger moves by lines; a bar that is dragged moves by shares of all.
    if (Math.abs(distance) < this.view && !isEdge) {
      this.top = Math.min(Math.max(0, this.top + distance), this.end);
      return false;
    }
    this.top = Math.min(Math.max(0, (position / (this.height - this.view)) * this.end), this.end);
    return false;
  }
}
