// Votes on their way to the store. One is in this browser until the server says that it has it: a reload, or
// a server that was killed, loses none. One that is sent twice has the same id, and is kept once. Each has an
// entry of its own, since several tabs share what a browser keeps.
import { post } from "./server.js";
import { by, element, page, say, sayIn } from "./words.js";

const WAITING = "moinho-vote-", REFUSED = "moinho-refused-";
const NEVER = [400, 409, 413, 422]; // what the server will not take another time either
const RETRY_MS = 3000, KEEPALIVE_BYTES = 30_000;
const told = new Map(); // by id, where its fate is shown
let sending = null, away = false;

const kept = (prefix) => Object.keys(localStorage).filter((key) => key.startsWith(prefix));

export function startOutbox() {
  window.addEventListener("storage", show);
  setInterval(() => { if (kept(WAITING).length) send(); }, RETRY_MS);
  send();
}

// Says in `status` what becomes of it.
export function vote(ballot, status) {
  const whole = { ...ballot, id: identity(), voter: by("voter").value.trim(), language: page.language };
  localStorage.setItem(WAITING + whole.id, JSON.stringify(whole));
  told.set(whole.id, status);
  send();
}

export function identity() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function send() {
  sending ??= sendAll().finally(() => { sending = null; show(); });
  show();
}

async function sendAll() {
  const tried = new Set();
  for (;;) {
    const key = kept(WAITING).find((each) => !tried.has(each));
    if (!key) return;
    tried.add(key);
    await sendOne(key);
    show();
  }
}

async function sendOne(key) {
  const body = localStorage.getItem(key);
  if (body === null) return; // another tab was faster
  try {
    const answer = await post("api/votes", body, { keepalive: body.length < KEEPALIVE_BYTES });
    away = !answer.ok && !NEVER.includes(answer.status);
    if (away) return;
    if (!answer.ok) {
      const why = (await answer.json()).error.message;
      localStorage.setItem(REFUSED + key.slice(WAITING.length), JSON.stringify({ why, vote: JSON.parse(body) }));
    }
    localStorage.removeItem(key);
  } catch { away = true; }
}

function show() {
  for (const [id, status] of told) {
    const waits = localStorage.getItem(WAITING + id) !== null, refused = localStorage.getItem(REFUSED + id) !== null;
    sayIn(status, waits ? "waits" : refused ? "refused" : "thanks");
    if (!waits) told.delete(id);
  }
  const waiting = kept(WAITING).length;
  by("outbox").replaceChildren(...(away && waiting ? [say("unsent", "p", {}, { count: waiting })] : []),
    ...kept(REFUSED).map(refusedVote));
}

function refusedVote(key) {
  const { why } = JSON.parse(localStorage.getItem(key));
  return element("p", { class: "refused" }, say("refused"), ` ${why} `,
    say("discard", "button", { onclick: () => { localStorage.removeItem(key); show(); } }));
}
