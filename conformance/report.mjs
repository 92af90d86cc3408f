// The outcomes of a run, for people and for programs.

const WORD = { passed: "ok", failed: "FAILED", skipped: "skipped" };

export function counts(outcomes) {
  const count = (result, must) =>
    outcomes.filter((one) => one.result === result && (must === undefined || one.must === must));
  return {
    passed: count("passed").length,
    skipped: count("skipped").length,
    failedMust: count("failed", true).length,
    failedShould: count("failed", false).length,
  };
}

export function sum(outcomes) {
  const { passed, skipped, failedMust, failedShould } = counts(outcomes);
  return `${passed} passed, ${failedMust} failed, ${failedShould} failed that only should, ${skipped} skipped`;
}

const strictness = ({ must }) => (must ? "must" : "should");
const firstLine = (text) => text.split("\n")[0];

function table(outcomes) {
  const lines = outcomes.map((one) => {
    const reason = one.reason ? `\n           ${one.reason.replaceAll("\n", "\n           ")}` : "";
    return `${WORD[one.result].padEnd(8)} ${one.id.padEnd(26)} ${strictness(one).padEnd(6)} ${one.says}${reason}`;
  });
  return `${lines.join("\n")}\n\n${sum(outcomes)}`;
}

function tap(outcomes) {
  const lines = outcomes.map((one, at) => {
    const todo = one.result === "failed" && !one.must ? " # TODO only should" : "";
    const skip = one.result === "skipped" ? ` # SKIP ${one.reason}` : "";
    const ok = one.result === "failed" ? "not ok" : "ok";
    const reason =
      one.result === "failed" ? `\n  ---\n  message: ${JSON.stringify(one.reason)}\n  ...` : "";
    return `${ok} ${at + 1} - ${one.id}: ${one.says}${todo}${skip}${reason}`;
  });
  return ["TAP version 14", `1..${outcomes.length}`, ...lines].join("\n");
}

function markdown(outcomes) {
  const rows = outcomes.map((one) => {
    const why = one.result === "passed" ? "" : ` (${firstLine(one.reason)})`;
    return `| ${one.id} | ${one.rule} | ${strictness(one)} | ${one.says} | ${WORD[one.result]}${why} |`;
  });
  return ["| case | rule | strictness | what it says | result |", "| --- | --- | --- | --- | --- |", ...rows].join("\n");
}

const FORMATS = {
  table,
  tap,
  markdown,
  json: (outcomes) => JSON.stringify({ ...counts(outcomes), cases: outcomes }, null, 2),
};

export function render(format, outcomes) {
  const form = FORMATS[format];
  if (!form) throw new Error(`--format is one of ${Object.keys(FORMATS).join(", ")}`);
  return form(outcomes);
}
