// Asks for a token where the server wants one. The token goes to the server once and is kept nowhere here.

import { post, sentenceOf } from "./api.js";
import { button, h, setText } from "./dom.js";

let dialog = null;

// Asks, if nobody is being asked already, and calls back when the server knows who is here.
export function askForToken(done) {
  if (dialog !== null) return;
  const token = h("input", { type: "password", autocomplete: "current-password", "aria-label": "Token", required: true });
  const wrong = h("p", { class: "wrong", role: "alert" });
  const close = () => {
    dialog.close();
    dialog.remove();
    dialog = null;
  };
  const send = async (event) => {
    event.preventDefault();
    try {
      await post("/login", { token: token.value });
      close();
      done();
    } catch (error) {
      setText(wrong, error.status === 401 ? "The lab does not know this token." : sentenceOf(error));
    }
  };
  const form = h("form", { class: "form", on: { submit: send } }, h("h2", null, "Who are you?"),
    h("p", { class: "faint" }, "This lab wants a token; who runs it gives you one."), token, wrong,
    h("div", { class: "bar-of-buttons" }, h("button", { class: "primary" }, "Go on"), button("Not now", close)));
  dialog = h("dialog", { class: "help", "aria-label": "Token" }, form);
  document.body.append(dialog);
  dialog.showModal();
}
