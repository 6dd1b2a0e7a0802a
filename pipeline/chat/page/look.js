// Looking into a model: what it expects, attends to, hangs on, takes for alike, and where that stands.
import { Refused, alertOf, ask } from "./server.js";
import { by, element, fillModels, number, page, say, text } from "./words.js";

const percent = (share) => `${number(100 * share, share < 0.1 ? 1 : 0)} %`;
const seen = (piece) => piece.replaceAll(" ", "␣").replaceAll("\n", "⏎");
const DARKEST = 60; // percent of the colour, so that what is written on it stays readable
const OPTIONAL = "prediction", WITHOUT_TEXT = "near";

export function startLook() {
  fillModels(by("look-model"), page.models);
  by("look-model").value = page.chosen;
  const looks = [look("next", [], showNext), look("attention", [], showAttention), look("without", ["prediction"], showWithout),
    look("similar", ["other", "word"], showSimilar), look("near", ["word"], showNear)];
  if (page.traces) looks.push(look("where", [], showWhere));
  by("looks").replaceChildren(...looks);
}

function look(name, fields, shown) {
  const inputs = fields.map((field) => [field, element("input", { "data-field": field, autocomplete: "off" })]);
  const found = element("div", { class: "found", "aria-live": "polite" });
  const show = element("button", { type: "submit", class: "main" }, say("show"));
  const asked = async (more = {}) => {
    const given = Object.fromEntries(inputs.map(([field, input]) => [field, input.value.trim()]));
    const whole = { model: by("look-model").value, text: by("look-text").value, ...given, ...more };
    const missing = fields.some((field) => field !== OPTIONAL && !given[field]) || (name !== WITHOUT_TEXT && !whole.text.trim());
    if (missing) throw new Refused("", "error.missing");
    return ask(`api/look/${name}`, whole);
  };
  const run = async (event) => {
    event.preventDefault();
    delete found.dataset.done;
    show.disabled = true;
    try {
      found.replaceChildren(element("div", { class: "scroll" }, shown(await asked(), asked)));
    } catch (error) {
      found.replaceChildren(alertOf(error));
    }
    show.disabled = false;
    found.dataset.done = "true";
  };
  return element("form", { class: "look", id: `look-${name}`, onsubmit: run }, say(name, "h2"), say(`${name}Help`, "p", { class: "help" }),
    element("div", { class: "row" }, ...inputs.map(([field, input]) => element("label", {}, say(field), " ", input)), show), found);
}

function bars(rows, unit = percent) {
  const most = Math.max(...rows.map(([, value]) => Math.abs(value)), 1e-9);
  return element("table", { class: "bars" }, ...rows.map(([label, value]) => {
    const bar = element("div", { class: value < 0 ? "bar against" : "bar" });
    bar.style.width = `${100 * Math.abs(value) / most}%`;
    return element("tr", {}, element("th", { scope: "row" }, seen(label)), element("td", { class: "number" }, unit(value)), element("td", {}, bar));
  }));
}

function showNext({ places }) {
  const detail = element("div", {});
  const tokens = places.map((place) => {
    const words = place.token ? seen(place.token) : "…";
    const button = element("button", { type: "button", "aria-pressed": "false", onclick: () => {
      tokens.forEach((each) => each.setAttribute("aria-pressed", String(each === button)));
      const came = place.token && say("came", "p", {}, { token: words, share: percent(place.probability), bits: number(place.bits, 1) });
      detail.replaceChildren(came || say("comes", "p"), bars(place.candidates));
    } }, words);
    button.style.setProperty("--surprise", `${Math.min(DARKEST, 4 * (place.bits ?? 0))}%`);
    return button;
  });
  tokens.at(-1).click();
  return element("div", {}, element("div", { class: "tokens" }, ...tokens), detail);
}

function heat(names, words, rows) {
  const most = Math.max(...rows.flat(), 1e-9);
  return element("table", { class: "heat" },
    element("tr", {}, element("td"), ...words.map((word) => element("th", { class: "word", scope: "col" }, element("span", {}, word)))),
    ...rows.map((row, at) => element("tr", {}, names[at], ...row.map((value) => {
      const cell = element("td", { class: "cell" }, number(100 * value));
      cell.style.setProperty("--share", `${DARKEST * value / most}%`);
      return cell;
    }))));
}

// A row for each layer, the mean of its heads; or one for each head of a layer.
function showAttention({ words, place, shares }, asked) {
  const map = element("div", {}), buttons = words.map((word, at) => element("button", { type: "button", onclick: () => choose(at) }, word));
  const layers = element("select", { "data-label": "layers", "aria-label": text("layers") }, say("all", "option", { value: "" }),
    ...shares.map((_, at) => say("layer", "option", { value: at }, { number: at + 1 })));
  const draw = () => {
    const heads = layers.value === "" ? null : shares[Number(layers.value)];
    const rows = heads ?? shares.map((own) => own[0].map((_, at) => own.reduce((sum, head) => sum + head[at], 0) / own.length));
    const names = rows.map((_, at) => say(heads ? "head" : "layer", "th", { scope: "row" }, { number: at + 1 }));
    map.replaceChildren(heat(names, words.slice(0, place + 1), rows));
    buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(at === place)));
  };
  const choose = async (at) => {
    try {
      ({ place, shares } = await asked({ place: at }));
      draw();
    } catch (error) { map.replaceChildren(alertOf(error)); }
  };
  layers.addEventListener("change", draw);
  draw();
  return element("div", {}, element("div", { class: "row words" }, ...buttons, layers), map);
}

const showWithout = ({ words, lost, prediction, bits }) => element("div", {},
  say("foretold", "p", {}, { token: seen(prediction), bits: number(bits, 2) }),
  bars(words.map((word, at) => [word, lost[at]]), (value) => (value > 0 ? "+" : "") + number(value, 2)));

const showSimilar = ({ same, others }) => element("table", {},
  element("tr", {}, element("td"), say("sameWord", "th", { scope: "col" }), say("otherWords", "th", { scope: "col" })),
  ...same.map((value, at) => element("tr", {}, at ? say("layer", "th", { scope: "row" }, { number: at }) : say("embedding", "th", { scope: "row" }),
    element("td", { class: "number" }, number(value, 2)), element("td", { class: "number" }, number(others[at], 2)))));

const showNear = ({ nearest }) => bars(nearest, (value) => number(value, 2));

const showWhere = ({ places }) => places.length ? element("ul", {}, ...places.map((place) => element("li", {},
  // Only what a browser fetches from the web becomes a link.
  /^https?:/.test(place.url) ? element("a", { href: place.url, rel: "noreferrer" }, place.url) : place.url, " — ",
  say("copied", "span", {}, { count: place.characters }), `: “${place.text.trim()}”`))) : say("nothing", "p");
