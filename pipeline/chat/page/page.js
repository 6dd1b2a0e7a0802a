// The page's frame: who votes, in which language, and which part is open.
import { startChat } from "./chat.js";
import { startCompare } from "./compare.js";
import { startLook } from "./look.js";
import { identity, startOutbox } from "./outbox.js";
import { startVoting } from "./voting.js";
import { by, page, sayIn, text, translate } from "./words.js";

const TABS = ["chat", "compare", "look"];
const VOTER = "moinho-voter", LANGUAGE = "moinho-language";

function show(tab) {
  for (const name of TABS) {
    by(name).hidden = name !== tab;
    by(`tab-${name}`).setAttribute("aria-selected", String(name === tab));
    by(`tab-${name}`).tabIndex = name === tab ? 0 : -1;
  }
}

function startTabs() {
  for (const name of TABS) by(`tab-${name}`).addEventListener("click", () => show(name));
  by("tab-chat").parentElement.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = TABS[(TABS.findIndex((name) => !by(name).hidden) + step + TABS.length) % TABS.length];
    show(next);
    by(`tab-${next}`).focus();
  });
  show("chat");
}

// A pseudonym of this browser, until somebody writes another; never none, or all who leave it out would be one.
function startVoter() {
  const field = by("voter"), made = () => `voter-${identity().slice(0, 4)}`;
  field.value = localStorage.getItem(VOTER) ?? made();
  const keep = () => localStorage.setItem(VOTER, field.value.trim());
  field.addEventListener("change", () => { field.value = field.value.trim() || made(); keep(); });
  keep();
}

function startLanguage() {
  const wanted = localStorage.getItem(LANGUAGE) ?? navigator.language.slice(0, 2);
  page.language = wanted in page.texts ? wanted : "en";
  by("language").addEventListener("click", () => {
    page.language = text("switch");
    localStorage.setItem(LANGUAGE, page.language);
    translate();
  });
}

async function start() {
  const [texts, state] = await Promise.all(["page/texts.json", "api/state"].map(async (path) => (await fetch(path)).json()));
  Object.assign(page, state, { texts });
  startLanguage();
  startVoter();
  sayIn(by("hint"), "hint", { box: page.box });
  startTabs();
  startChat();
  startVoting();
  startCompare();
  startLook();
  startOutbox();
  translate();
  document.documentElement.dataset.ready = "true";
}

start();
