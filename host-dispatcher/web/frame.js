// What is around every page: its head with the theme's switch, and the keys that are explained by `?`.

import { h, button, setText } from "./dom.js";

const THEMES = ["system", "light", "dark"];
const HELP_KEYS = [["j, k, arrows", "next, previous line"], ["PgDn, PgUp, Space", "a window further, back"], ["Home, End", "first, last line"], ["/", "search the log"],
  ["K", "the kernel's lines alone, or all again"], ["Shift and click", "mark from the selected line to this one"], ["Escape", "mark nothing; leave a field"], ["f", "follow a run that goes on"], ["Tab, arrows", "timeline and tabs"], ["?", "these keys"]];

export class Frame {
  // `links`: [address, label] of the pages. `keys()` gets the keys that nobody else takes.
  constructor(links, keys) {
    this.links = links.map(([href, label]) => h("a", { href }, label));
    this.state = h("span", { class: "connection", role: "status" });
    this.theme = button("", () => this.nextTheme(), { class: "quiet", title: "Colours: the system's, light, dark" });
    this.help = helpDialog();
    this.main = h("main", { id: "content" });
    const brand = links.length > 0 ? h("a", { class: "brand", href: links[0][0] }, "Pumice") : h("span", { class: "brand" }, "Pumice");
    const nav = links.length > 0 ? h("nav", { "aria-label": "Pages" }, this.links) : h("span", { class: "nav-room" });
    document.body.append(h("header", { class: "top" }, brand, nav, this.state, this.theme,
      button("?", () => this.help.showModal(), { class: "quiet", "aria-label": "Keys" })), this.main, this.help);
    this.showTheme(stored());
    document.addEventListener("keydown", (event) => this.key(event, keys));
  }

  // Marks the link of the page that is shown.
  at(href) {
    for (const link of this.links) {
      if (link.getAttribute("href") === href) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }

  key(event, keys) {
    const field = event.target instanceof Element && event.target.closest("input, textarea, select, .terminal");
    if (field) {
      if (event.key === "Escape" && !field.classList.contains("terminal")) field.blur();
      return;
    }
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || this.help.open) return;
    const isPress = (event.key === " " || event.key === "Enter") && event.target instanceof Element && event.target.closest("button, a, summary");
    if (isPress) return;
    if (event.key === "?") this.help.showModal();
    else if (!keys(event)) return;
    event.preventDefault();
  }

  nextTheme() {
    const theme = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
    try {
      localStorage.setItem("pumice-theme", theme);
    } catch {
      // A file's page may have no place to keep it: it lasts as long as the page.
    }
    this.showTheme(theme);
  }

  showTheme(theme) {
    document.documentElement.dataset.theme = theme;
    setText(this.theme, { system: "◐ auto", light: "○ light", dark: "● dark" }[theme]);
  }
}

function stored() {
  try {
    const theme = localStorage.getItem("pumice-theme");
    return THEMES.includes(theme) ? theme : "system";
  } catch {
    return "system";
  }
}

function helpDialog() {
  const rows = HELP_KEYS.map(([key, words]) => h("div", null, h("dt", null, h("kbd", null, key)), h("dd", null, words)));
  const dialog = h("dialog", { class: "help", "aria-label": "Keys" }, h("h2", null, "Keys"), h("dl", null, rows));
  dialog.append(button("Close", () => dialog.close()));
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "?") dialog.close();
  });
  return dialog;
}
