// Keeps an open page in step with the shop. The page was rendered at a position; every channel
// resumes exactly there, so nothing between the rendering and the join is missed.

import { Socket } from "./phoenix.mjs";

const page = document.body.dataset;
const all = (selector, root = document) => root.querySelectorAll(selector);
const one = (selector, root = document) => root.querySelector(selector);

const LEVEL_WORDS = {
  out: "sold out",
  low: "almost gone",
  medium: "going fast",
  high: "in stock",
};
const REASONS = {
  duplicate_item: "This pair is in your bag already.",
  not_found: "There is no such pair.",
  cart_full: "Your bag is full.",
  failed: "That could not be stored. Please try again.",
};

/** A topic that is followed from the page's position on, whatever happens to the connection. */
class Follower {
  #heard = page.since;

  constructor(socket, topic, params, { events, reset, joined, refused }) {
    // A closure: it is asked at every rejoin, and a rejoin begins where the last message ended.
    this.channel = socket.channel(topic, () => ({ ...params, since: this.#heard }));
    for (const [event, show] of Object.entries(events)) {
      this.channel.on(event, (payload) => this.#take(payload, show));
    }
    this.channel.on("bookmark", (payload) => this.#take(payload));
    this.channel
      .join()
      .receive("ok", ({ mode, position, rows = [] }) => {
        joined();
        // Another history, or too long ago: what is shown may be of no use any more.
        if (mode !== "resume") reset(rows);
        for (const { event, payload } of rows) events[event]?.(payload);
        this.#heard = position;
      })
      .receive("error", (reply) => refused(reply?.reason ?? "refused"))
      .receive("timeout", () => refused("no answer"));
  }

  #take(payload, show) {
    const { position } = payload;
    if (position !== undefined && !isNewer(position, this.#heard)) return;
    show?.(payload);
    if (position !== undefined) this.#heard = position;
  }
}

/** Positions of one history are in the order of their texts; of two histories, in none. */
function isNewer(position, than) {
  const history = (text) => text.split("-", 1)[0];
  return !than || history(position) !== history(than) || position > than;
}

// Products

function followProduct(socket, shoe) {
  const offer = one("[data-offer]", shoe);
  const trouble = one("[data-trouble]", shoe);

  // A release was taken back, which no message describes: the page itself does.
  const withdraw = () => {
    if (shoe.dataset.released === "true") location.reload();
  };
  const events = {
    released({ size_html }) {
      const isNews = shoe.dataset.released === "false";
      offer.innerHTML = size_html;
      shoe.dataset.released = "true";
      showTag(shoe);
      markBag();
      if (isNews) celebrate(shoe);
    },
    stock_change: ({ item_id, level }) => showLevel(item_id, level),
    leave({ key }) {
      if (key === shoe.dataset.productId) withdraw();
      else one(`[data-item-id="${CSS.escape(key)}"]`, shoe)?.remove();
    },
  };
  return new Follower(socket, shoe.dataset.topic, {}, {
    events,
    reset(rows) {
      if (!rows.some(({ event }) => event === "released")) withdraw();
    },
    joined: () => (trouble.hidden = true),
    refused(reason) {
      trouble.textContent = `Live news of this shoe does not arrive (${reason}). Trying again…`;
      trouble.hidden = false;
    },
  });
}

function celebrate(shoe) {
  shoe.classList.add("fresh");
  setTimeout(() => shoe.classList.remove("fresh"), 1600);
  say(`${one("h2", shoe).textContent} is out now.`);
}

function showTag(shoe) {
  const isLeft = one(".size:enabled", shoe) !== null;
  one("[data-tag]", shoe).textContent = isLeft ? "Out now" : "Sold out";
}

function showLevel(item, level) {
  const button = one(`[data-item-id="${item}"]`);
  if (!button || button.dataset.level === level) return;
  button.dataset.level = level;
  button.disabled = level === "out";
  one("[data-level-words]", button).textContent = LEVEL_WORDS[level] ?? level;
  const shoe = button.closest("[data-product-id]");
  showTag(shoe);
  if (level === "out") {
    // For screen readers; every other level can be asked for at its button.
    const size = one(".size-number", button).textContent;
    one("[data-spoken]").textContent = `${one("h2", shoe).textContent}, size ${size}: sold out.`;
  }
  button.classList.remove("told");
  // Reading a size makes the browser forget the old animation, so the new one starts.
  void button.offsetWidth;
  button.classList.add("told");
}

// Bag

let bag = { position: "", items: [] };
for (const button of all("[data-bag] [data-remove]")) {
  bag.items.push({ item_id: Number(button.dataset.remove) });
}

function showBag(cart, position) {
  if (position && bag.position && !isNewer(position, bag.position)) return;
  bag = { position: position ?? bag.position, items: cart.items };
  for (const body of all("[data-cart-body]")) body.innerHTML = cart.html;
  for (const badge of all("[data-cart-count]")) {
    if (badge.textContent !== String(cart.count)) {
      badge.classList.remove("bumped");
      void badge.offsetWidth;
      badge.classList.add("bumped");
    }
    badge.textContent = cart.count;
    badge.dataset.count = cart.count;
  }
  const noun = cart.count === 1 ? " item" : " items";
  for (const words of all("[data-cart-noun]")) words.textContent = noun;
  for (const buy of all("[data-buy]")) buy.hidden = cart.count === 0;
  markBag();
}

function markBag() {
  const held = new Set(bag.items.map(({ item_id }) => String(item_id)));
  for (const button of all("[data-item-id]")) {
    const isHeld = held.has(button.dataset.itemId);
    button.classList.toggle("in-bag", isHeld);
    button.setAttribute("aria-pressed", String(isHeld));
  }
}

function followBag(socket) {
  return new Follower(socket, page.cartTopic, { token: page.cartToken }, {
    events: { cart_updated: (cart) => showBag(cart, cart.position) },
    reset(rows) {
      if (rows.length === 0) showNothingHeld();
    },
    joined: () => notice(""),
    refused: (reason) =>
      notice(`Your bag is not live (${reason}). It still works: the page reloads instead.`),
  });
}

/** A cart that was never filled has no row, and the page shows it as it was rendered. */
function showNothingHeld() {
  if (bag.items.length > 0) location.reload();
}

function openBag() {
  const dialog = one("[data-bag]");
  if (!dialog.open) dialog.showModal();
}

/** What a form would do, over the socket; the form itself when there is none. */
function overSocket(follower, formId, event) {
  one(`#${formId}`).addEventListener("submit", (submit) => {
    const button = submit.submitter;
    if (follower.channel.state !== "joined" || !button) return;
    submit.preventDefault();
    button.setAttribute("aria-busy", "true");
    const settle = () => button.removeAttribute("aria-busy");
    follower.channel
      .push(event, { item_id: button.value })
      .receive("ok", ({ cart, position }) => {
        settle();
        showBag(cart, position);
        if (event === "add_item") openBag();
      })
      .receive("error", ({ reason, cart, position }) => {
        settle();
        if (cart) showBag(cart, position);
        if (reason === "duplicate_item") openBag();
        else say(REASONS[reason] ?? REASONS.failed);
      })
      .receive("timeout", () => {
        settle();
        say("No answer from the shop. Please try again.");
      });
  });
}

// Words

let toastTimer;
function say(words) {
  const toast = one("[data-toast]");
  toast.textContent = words;
  toast.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => toast.classList.remove("shown"), 4500);
}

function notice(words) {
  const box = one("[data-notice]");
  box.textContent = words;
  box.hidden = words === "";
}

function showConnection(socket) {
  const live = one("[data-live]");
  const show = (state, words) => {
    live.dataset.live = state;
    one("span", live).textContent = words;
  };
  show("off", "Connecting");
  socket.onOpen(() => show("on", "Live"));
  socket.onClose(() => show("lost", "Reconnecting"));
}

// Beginning

for (const opener of all("[data-open-bag]")) {
  if (page.page !== "shop") break;
  opener.setAttribute("aria-haspopup", "dialog");
  opener.addEventListener("click", (click) => {
    click.preventDefault();
    openBag();
  });
}
one("[data-close-bag]").addEventListener("click", () => one("[data-bag]").close());
one("[data-bag]").addEventListener("click", (click) => {
  // Outside the panel there is only the backdrop, which belongs to the dialog itself.
  if (click.target === click.currentTarget) click.currentTarget.close();
});
for (const form of all("[data-buy]")) {
  form.addEventListener("submit", () => {
    const button = one("button", form);
    // After this turn, or the browser would not send the form.
    setTimeout(() => (button.disabled = true));
  });
}
addEventListener("pageshow", ({ persisted }) => {
  // A page from the browser's store is of another time, and its forms were used.
  if (persisted) location.reload();
});

const socket = new Socket(`${location.origin.replace(/^http/, "ws")}/socket`, {
  // Thousands come back at the same moment: not all in the same millisecond.
  reconnectAfterMs: (tries) => ([50, 150, 300, 700, 1500][tries - 1] ?? 3000) * (1 + Math.random()),
  rejoinAfterMs: (tries) => [500, 1500, 4000][tries - 1] ?? 8000,
});
showConnection(socket);
socket.connect();
for (const shoe of all("[data-product-id]")) followProduct(socket, shoe);
// Visitors are counted, for the merchant, and not identified.
const key = page.cartTopic.split(":")[1];
socket.channel(`shoppers:${page.page}`, { presence: { key } }).join();
const held = followBag(socket);
overSocket(held, "add-to-bag", "add_item");
overSocket(held, "remove-from-bag", "remove_item");
markBag();
