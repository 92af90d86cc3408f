// All cases, in the order of the rules.

import binary from "./cases/binary.mjs";
import connecting from "./cases/connecting.mjs";
import faults from "./cases/faults.mjs";
import joining from "./cases/joining.mjs";
import leaving from "./cases/leaving.mjs";
import longpoll from "./cases/longpoll.mjs";
import presence from "./cases/presence.mjs";
import pushing from "./cases/pushing.mjs";
import storms from "./cases/storms.mjs";
import versionOne from "./cases/version-one.mjs";

export const CASES = [
  ...connecting,
  ...joining,
  ...leaving,
  ...pushing,
  ...binary,
  ...versionOne,
  ...faults,
  ...longpoll,
  ...presence,
  ...storms,
];

const ids = CASES.map(({ id }) => id);
const twice = ids.find((id, at) => ids.indexOf(id) !== at);
if (twice) throw new Error(`two cases are called ${twice}`);
