#!/usr/bin/env node
// Runs the suite against a server. Exit code: 0 all that must passed, 1 something failed,
// 2 the suite could not run.

import { CASES } from "./cases.mjs";
import { helpText, readOptions } from "./options.mjs";
import { counts, render } from "./report.mjs";
import { runCases } from "./suite.mjs";

function chosen({ only, skip }) {
  const begins = (id, starts) => starts.some((start) => id.startsWith(start));
  return CASES.filter(({ id }) => (only.length === 0 || begins(id, only)) && !begins(id, skip));
}

async function main() {
  const options = readOptions(process.argv.slice(2));
  if (options.help) return console.log(helpText());
  const cases = chosen(options);
  if (options.list) {
    for (const { id, must, says } of cases) {
      console.log(`${id.padEnd(26)} ${(must ? "must" : "should").padEnd(6)} ${says}`);
    }
    return undefined;
  }
  const outcomes = await runCases(cases, options);
  console.log(render(options.format, outcomes));
  const { passed, failedMust, failedShould } = counts(outcomes);
  // A suite in which nothing passed has seen no server.
  const failed = failedMust > 0 || passed === 0 || (options.strict && failedShould > 0);
  process.exitCode = failed ? 1 : 0;
  return undefined;
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 2;
});
