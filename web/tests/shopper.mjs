// A shopper without a browser, and the merchant's requests.

import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

/** Ids 1 and 2 are the seed's own. */
let nextProduct = 3;

/** A shopper: a cookie jar with one cookie, and the tokens of the last page. */
export class Shopper {
  #server;

  constructor(server, cookie = "") {
    this.#server = server;
    this.cookie = cookie;
  }

  /** Opens the shop, as every shopper begins; returns itself. */
  async enter() {
    await this.get("/");
    return this;
  }

  async get(path, headers = {}) {
    return this.#take(await this.#fetch(path, { headers }));
  }

  /** Sends a form. The token of the last page is added unless there is one. */
  async post(path, fields, headers = {}) {
    const body = new URLSearchParams({ form_token: this.formToken ?? "", ...fields });
    return this.#take(await this.#fetch(path, { method: "POST", body, headers }));
  }

  /** The cart as JSON. */
  async cart() {
    return (await this.get("/cart")).body;
  }

  add(item) {
    return this.post("/cart/add", { item_id: item }, { accept: "application/json" });
  }

  checkout(order = uuid7()) {
    return this.post("/checkout", { order }, { accept: "application/json" });
  }

  #fetch(path, init) {
    const cookie = this.cookie ? { cookie: `instep_cart=${this.cookie}` } : {};
    const headers = { ...cookie, ...init.headers };
    return fetch(this.#server.url + path, { ...init, headers, redirect: "manual" });
  }

  async #take(answer) {
    for (const line of answer.headers.getSetCookie()) {
      this.cookie = /^instep_cart=([^;]*)/.exec(line)?.[1] ?? this.cookie;
    }
    const text = await answer.text();
    this.formToken = /name="form_token" value="([^"]+)"/.exec(text)?.[1] ?? this.formToken;
    this.cartToken = /data-cart-token="([^"]+)"/.exec(text)?.[1] ?? this.cartToken;
    this.cartTopic = /data-cart-topic="([^"]+)"/.exec(text)?.[1] ?? this.cartTopic;
    const isJson = answer.headers.get("content-type")?.includes("json");
    const body = isJson ? JSON.parse(text) : text;
    return { status: answer.status, headers: answer.headers, body };
  }
}

/** A request of the merchant. */
export function merchant(server, path, body) {
  return server.request("POST", `/shop/admin/${path}`, body);
}

/** A product of one's own; answers its id and its item ids. */
export async function addProduct(server, { sizes = ["9"], stock = 500, release = false }) {
  const id = nextProduct++;
  const product = { id, sku: `TEST-${id}`, name: `Test shoe ${id}`, price_cents: 10_000, sizes };
  await server.must("POST", "/shop/admin/seed", { stock, products: [product] });
  if (release) await server.must("POST", `/shop/admin/products/${id}/release`);
  return { id, items: sizes.map((_, index) => id * 100 + index + 1) };
}

/** Sets how many there are of an item. */
export function setCount(server, item, pieces) {
  return server.must("POST", `/shop/admin/items/${item}/stock`, { count: pieces });
}

/** How many there are of an item. */
export async function count(server, item) {
  const { products } = await server.must("GET", "/shop/admin/products");
  return products.flatMap(({ items }) => items).find(({ id }) => id === item).count;
}

/** The counts that the shop has in memory. */
export async function countsInMemory(server) {
  const page = "/v1/datasets/shop/tables/availability/rows?limit=1000";
  const { rows } = await server.must("GET", page);
  return new Map(rows.map(({ key, row }) => [key, row]));
}

/** The counts that the log adds up to, in the order of their keys. */
export async function countsInLog(server) {
  const headers = await server.authorization();
  const feed = await fetch(`${server.url}/v1/datasets/shop/changes`, { headers });
  const rows = new Map();
  for (const line of (await feed.text()).trim().split("\n")) {
    for (const { put } of JSON.parse(line).records) {
      if (put?.table === "availability") rows.set(put.key, put.row);
    }
  }
  return new Map([...rows].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Runs a demonstration sale to its end; answers the lines it told. */
export async function sell(server, options) {
  const key = (await readFile(join(server.data, "admin.key"), "utf8")).trim();
  const answer = await fetch(`${server.url}/shop/admin/sell-until-gone`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}` },
    body: JSON.stringify(options),
  });
  const text = await answer.text();
  if (answer.status !== 200) throw new Error(`sell-until-gone: ${answer.status} ${text}`);
  return text.trim().split("\n").map((line) => JSON.parse(line));
}

/** A UUIDv7 of now. */
export function uuid7() {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(Date.now(), 0, 6);
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = bytes.toString("hex");
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, "$1-$2-$3-$4-$5");
}
