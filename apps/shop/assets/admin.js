// The merchant's page: counts as they change. The token is in the page, the key never is.

import { Socket } from "./phoenix.mjs";

const page = document.body.dataset;
const one = (selector, root = document) => root.querySelector(selector);

const SESSION = "/shop/admin/session";
const PAGES = { shop: "The shelf", checkout: "At the till", complete: "Just bought" };

function trouble(words) {
  const box = one("[data-trouble]");
  box.textContent = words;
  box.hidden = words === "";
}

function make(name, className, ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

// Entering and leaving

one("[data-enter]")?.addEventListener("submit", async (submit) => {
  submit.preventDefault();
  trouble("");
  const authorization = `Bearer ${submit.target.key.value.trim()}`;
  const answer = await fetch(SESSION, { method: "POST", headers: { authorization } }).catch(() => null);
  if (answer?.ok) location.reload();
  else trouble(answer ? "That is not the key of this server." : "The server does not answer.");
});
one("[data-leave]")?.addEventListener("click", async () => {
  await fetch(SESSION, { method: "DELETE" });
  location.reload();
});

// Counts

function show({ shoppers, pages, products }) {
  const items = products.flatMap((product) => product.items);
  const sum = (field) => items.reduce((all, item) => all + item[field], 0);
  put("shoppers", shoppers);
  put("in_carts", sum("in_carts"));
  put("available", sum("available"));
  const most = Math.max(1, ...Object.values(pages));
  const sorted = Object.entries(pages).sort(([, a], [, b]) => b - a);
  one("[data-pages]").replaceChildren(...sorted.map(([name, count]) => pageRow(name, count, most)));
  one("[data-empty]").hidden = sorted.length > 0;
  one("[data-products]").replaceChildren(...products.map(productCard));
}

function put(name, count) {
  const box = one(`[data-count="${name}"]`);
  const words = count.toLocaleString("en");
  if (box.textContent === words) return;
  box.textContent = words;
  box.animate?.([{ opacity: 0.35 }, { opacity: 1 }], 400);
}

function pageRow(name, count, most) {
  const meter = make("meter", "");
  meter.max = most;
  meter.value = count;
  meter.ariaLabel = count === 1 ? "1 shopper" : `${count} shoppers`;
  const row = make("li", "", make("span", "", PAGES[name] ?? name), meter, make("b", "", `${count}`));
  row.dataset.page = name;
  return row;
}

function productCard({ name, released, items }) {
  const state = make("span", "state", released ? "released" : "not released");
  const head = make("tr", "", ...["Size", "In bags", "Available"].map((word) => make("th", "", word)));
  const rows = items.map(({ id, size, in_carts, available }) => {
    const row = make("tr", "", ...[size, in_carts, available].map((cell) => make("td", "", `${cell}`)));
    row.dataset.item = id;
    row.dataset.level = available === 0 ? "out" : in_carts >= available ? "low" : "high";
    return row;
  });
  const table = make("table", "", make("thead", "", head), make("tbody", "", ...rows));
  return make("article", "card", make("h2", "", name, state), table);
}

if (page.token) {
  const socket = new Socket(`${location.origin.replace(/^http/, "ws")}/socket`);
  const live = (state, words) => {
    one("[data-live]").dataset.live = state;
    one("[data-live] span").textContent = words;
  };
  socket.onOpen(() => live("on", "Live"));
  socket.onClose(() => live("lost", "Reconnecting"));
  socket.connect();
  const channel = socket.channel(page.topic, { token: page.token });
  channel.on("counts", show);
  channel
    .join()
    .receive("ok", () => trouble(""))
    .receive("error", () => {
      // The token has run out, or was signed by another secret.
      channel.leave();
      trouble("You are signed out. Reload the page to sign in.");
    });
}
