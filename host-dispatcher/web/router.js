// Addresses of pages: `#/runs/NAME?source=kernel`. Everything behind the `#`, so that the server has one page.

// The parts of an address: {path, names, query}.
export function routeOf(hash) {
  const [path, words] = splitAt(hash.replace(/^#/, "") || "/", "?");
  const names = path.split("/").filter(Boolean).map(decoded);
  return { path, names, query: new URLSearchParams(words) };
}

// Writes another query into the address, without a new entry in the browser's history.
export function replaceQuery(path, query) {
  const words = query.toString();
  history.replaceState(null, "", `#${path}${words ? `?${words}` : ""}`);
}

// The address of a page below others, with what of a query is not empty.
export function hashOf(names, query) {
  const filled = Object.entries(query ?? {}).filter(([, value]) => value);
  const words = new URLSearchParams(filled).toString();
  return `#/${names.map(encodeURIComponent).join("/")}${words ? `?${words}` : ""}`;
}

function splitAt(text, mark) {
  const index = text.indexOf(mark);
  return index < 0 ? [text, ""] : [text.slice(0, index), text.slice(index + 1)];
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
