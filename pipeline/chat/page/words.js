// Elements and their words. What is shown is put in as text, never as markup, and follows the language.
export const page = { texts: {}, language: "en", models: [], chosen: "", beside: "", box: "", traces: false };

export const by = (id) => document.getElementById(id);
export const knows = (name) => name in page.texts[page.language];

export function text(name, values = {}) {
  return page.texts[page.language][name].replace(/\{(\w+)\}/g, (_, value) => values[value] ?? "");
}

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

// An element that says a text of texts.json, whichever the language will be.
export function say(name, tag = "span", attributes = {}, values = {}) {
  return element(tag, { ...attributes, "data-text": name, "data-values": JSON.stringify(values) }, text(name, values));
}

export function sayIn(place, name, values = {}) {
  place.dataset.text = name;
  place.dataset.values = JSON.stringify(values);
  place.textContent = text(name, values);
}

export const number = (value, digits = 0) => value.toLocaleString(document.documentElement.lang,
  { minimumFractionDigits: digits, maximumFractionDigits: digits });

export function translate() {
  document.documentElement.lang = page.language === "pt" ? "pt-BR" : "en";
  for (const each of document.querySelectorAll("[data-text]")) {
    each.textContent = text(each.dataset.text, JSON.parse(each.dataset.values ?? "{}"));
  }
  for (const each of document.querySelectorAll("[data-placeholder]")) each.placeholder = text(each.dataset.placeholder);
  for (const each of document.querySelectorAll("[data-label]")) {
    each.title = text(each.dataset.label);
    each.setAttribute("aria-label", each.title);
  }
}

export function fillModels(select, models, first = null) {
  select.replaceChildren(...(first ? [say(first, "option", { value: "" })] : []),
    ...models.map((model) => element("option", { value: model.name }, model.name)));
}
