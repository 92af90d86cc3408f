// Waiting for something to become true, with a name to fail by.

import { setTimeout as sleep } from "node:timers/promises";

/** Asks again until the answer is truthy, and returns it. */
export async function eventually(what, ms, ask) {
  const deadline = Date.now() + ms;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`);
    await sleep(10);
  }
}

/** A promise that fails with a name when it does not settle in time. */
export async function within(what, ms, promise) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`not within ${ms} ms: ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
