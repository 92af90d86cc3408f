// The page of the sites: the newest state arrives on one topic, and buttons send orders.

import { Socket } from "./phoenix.mjs";

const page = document.body.dataset;
const all = (selector, root = document) => root.querySelectorAll(selector);
const one = (selector, root = document) => root.querySelector(selector);

const SERVER = "server";
/** Commits behind at which the meter is full, on a scale of powers of ten. */
const FULL = 10_000;
const LIVE = ["live", "catching-up"];
const DUMPING = ["reserved", "dumping"];

function trouble(words) {
  const box = one("[data-trouble]");
  box.textContent = words;
  box.hidden = words === "";
}

/** Writes a text where it changed, so that nothing that stays is drawn anew. */
function put(root, field, value) {
  const box = one(`[data-field="${field}"]`, root);
  const words = typeof value === "number" ? value.toLocaleString("en") : (value ?? "–");
  if (box.textContent !== words) box.textContent = words;
}

// Sites

/** What a site does, in a word, and the colour of it. */
function chip(site) {
  const { process, state, online, behind } = site;
  if (process === "wiped") return ["empty", "off"];
  if (process === "ended") return ["starting again", "bad"];
  if (process !== "running") return [process, "off"];
  if (state === "paused") return ["paused", "wait"];
  if (state === "failed" || state === "evicted") return [state, "bad"];
  if (takesDump(site)) return ["taking a dump", "wait"];
  if (!online) return ["connecting", "wait"];
  return behind === 0 ? ["up to date", "on"] : ["catching up", "wait"];
}

function takesDump({ process, state, behind, dump }) {
  return process === "running" && (dump || DUMPING.includes(state) || behind === null);
}

/** What a site does, in a sentence. */
function doing(site) {
  const { process, reason, dump, source, state, gives } = site;
  if (dump) {
    const of = dump.of ? ` of ${bytes(dump.of)}` : "";
    return `A dump from ${title(source)}: ${bytes(dump.bytes)}${of}.`;
  }
  if (reason) return reason;
  if (takesDump(site)) return `A dump from ${title(source)} is on its way.`;
  if (process === "wiped") return "Its database is deleted. It can be cloned.";
  if (process === "killed") return "Killed. It goes on where its database stands.";
  if (process === "stopped") return "Stopped in order.";
  if (process === "stopping") return "Acknowledges what it has applied, and ends.";
  if (state === "paused") return "It is sent nothing, and history is held for it.";
  if (gives) return "Gives a dump, and applies every commit as it comes.";
  return "Applies every commit as it comes.";
}

function show({ server, sites, can_add }) {
  const head = one("[data-server]");
  head.hidden = false;
  put(head, "revision", server.revision);
  showRows(head, server.rows);
  const grid = one("[data-sites]");
  const names = new Set(sites.map(({ site }) => site));
  for (const card of all("[data-site]", grid)) if (!names.has(card.dataset.site)) card.remove();
  for (const site of sites) showSite(one(`[data-site="${site.site}"]`, grid) ?? addCard(grid, site), site);
  const sources = [SERVER, ...sites.filter(isSource).map(({ site }) => site)];
  for (const select of all("[data-sources]")) {
    const own = select.closest("[data-site]")?.dataset.site;
    offer(select, sources.filter((name) => name !== own));
  }
  const add = one("[data-add]");
  if (add) add.hidden = !can_add;
}

/** Another site can be taken a dump of when it applies the log now. */
function isSource({ process, state, online }) {
  return process === "running" && online && LIVE.includes(state);
}

function addCard(grid, { site }) {
  const card = one("[data-card]").content.firstElementChild.cloneNode(true);
  card.dataset.site = site;
  const heading = one("h2", card);
  heading.id = `site-${site}`;
  card.setAttribute("aria-labelledby", heading.id);
  put(card, "name", title(site));
  if (page.token === undefined) one("form", card).remove();
  else one("form", card).addEventListener("submit", (submit) => send(submit, site));
  grid.append(card);
  return card;
}

function showSite(card, site) {
  const [word, colour] = chip(site);
  const { behind, process, pid, state, online, is_same, rows, revision, disk, dump } = site;
  card.dataset.process = process;
  card.dataset.colour = colour;
  put(card, "chip", word);
  put(card, "doing", doing(site));
  put(card, "behind", behind);
  const noun = behind === 1 ? "commit behind" : "commits behind";
  put(card, "behind_words", behind === null ? "no copy" : noun);
  const lag = Math.min(1, Math.log10(1 + (behind ?? 0)) / Math.log10(1 + FULL));
  const meter = one("[data-lag]", card);
  meter.value = dump?.of ? dump.bytes / dump.of : lag;
  meter.ariaLabel = dump?.of ? "Progress of the dump" : "Commits behind";
  put(card, "revision", revision);
  put(card, "process", pid === null ? "none" : String(pid));
  put(card, "state", state ? `${state}${online ? "" : ", offline"}` : "not known");
  put(card, "disk", disk === 0 ? undefined : bytes(disk));
  showRows(card, rows);
  card.dataset.same = is_same ?? "none";
  put(card, "same", is_same === null ? "" : is_same ? "same as the server" : "differs from the server");
  showButtons(card, site);
}

function showRows(root, rows) {
  put(root, "pairs", rows?.pairs);
  put(root, "orders", rows?.orders);
  put(root, "digest", rows?.digest);
}

function showButtons(card, { process, state, is_extra }) {
  const runs = process === "running" || process === "stopping";
  const shown = {
    start: !runs && process !== "wiped",
    stop: runs || process === "ended",
    kill: runs,
    pause: runs && state !== "paused",
    resume: state === "paused",
    wipe: process !== "wiped",
    remove: is_extra,
    clone: true,
  };
  const enabled = { pause: LIVE.includes(state) || state === "failed", stop: process !== "stopping" };
  for (const button of all("button", card)) {
    button.hidden = !shown[button.value];
    button.disabled = button.ariaBusy === "true" || enabled[button.value] === false;
  }
}

/** Changes what a list offers, and leaves the choice as it is where it can. */
function offer(select, names) {
  const known = [...select.options].map(({ value }) => value);
  if (known.join() === names.join()) return;
  const chosen = select.value;
  select.replaceChildren(...names.map((name) => new Option(title(name), name)));
  if (names.includes(chosen)) select.value = chosen;
}

const title = (name) => (name === SERVER ? "the server" : name[0].toUpperCase() + name.slice(1));

function bytes(count) {
  const units = ["B", "kB", "MB", "GB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, count)) / 3));
  return `${(count / 1000 ** power).toLocaleString("en", { maximumFractionDigits: 1 })} ${units[power]}`;
}

// Orders

async function send(submit, site) {
  submit.preventDefault();
  const button = submit.submitter;
  const source = one("select", submit.target)?.value ?? SERVER;
  const body = new URLSearchParams({ form_token: page.token, site, action: button.value, source });
  trouble("");
  button.ariaBusy = "true";
  button.disabled = true;
  const answer = await fetch("/sites", { method: "POST", body }).catch(() => null);
  button.ariaBusy = null;
  button.disabled = false;
  if (!answer) trouble("The server does not answer.");
  else if (!answer.ok) trouble((await answer.json().catch(() => null))?.detail ?? "It was not done.");
}

one("[data-add]")?.addEventListener("submit", (submit) => send(submit, ""));

// Beginning

const socket = new Socket(`${location.origin.replace(/^http/, "ws")}/socket`);
const live = (state, text) => {
  one("[data-live]").dataset.live = state;
  one("[data-live] span").textContent = text;
};
socket.onOpen(() => live("on", "Live"));
socket.onClose(() => live("lost", "Reconnecting"));
socket.connect();
const channel = socket.channel(page.topic);
channel.on(page.event, show);
channel
  .join()
  .receive("ok", () => trouble(""))
  .receive("error", ({ reason }) => trouble(`News of the sites does not arrive (${reason}).`));
