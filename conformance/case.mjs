// How a case is written down.

/** What a client cannot work without. */
export const must = (id, rule, says, run, more = {}) => ({ id, rule, says, run, must: true, ...more });

/** What a good server does, and some clients need. */
export const should = (id, rule, says, run, more = {}) => ({ ...must(id, rule, says, run, more), must: false });
