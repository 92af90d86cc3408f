// A certificate for this machine that vouches for itself, made of what Node has: X.509 in DER.

import { generateKeyPairSync, sign } from "node:crypto";

const OBJECT = {
  ecdsaWithSha256: [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02],
  commonName: [0x55, 0x04, 0x03],
  alternativeNames: [0x55, 0x1d, 0x11],
};

/** `{certificate, key}` in PEM, good for `localhost` and `127.0.0.1`. */
export function selfSigned() {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const algorithm = sequence(der(0x06, OBJECT.ecdsaWithSha256));
  const attribute = sequence(der(0x06, OBJECT.commonName), der(0x0c, Buffer.from("localhost")));
  const name = sequence(der(0x31, attribute));
  const validity = sequence(time("240101000000Z"), time("490101000000Z"));
  const names = sequence(der(0x82, Buffer.from("localhost")), der(0x87, [127, 0, 0, 1]));
  const extension = sequence(der(0x06, OBJECT.alternativeNames), der(0x04, names));
  const body = sequence(
    der(0xa0, der(0x02, [2])),
    der(0x02, [1]),
    algorithm,
    name,
    validity,
    name,
    publicKey.export({ type: "spki", format: "der" }),
    der(0xa3, sequence(extension)),
  );
  const signature = sign("sha256", body, privateKey);
  const certificate = sequence(body, algorithm, der(0x03, Buffer.concat([Buffer.of(0), signature])));
  return {
    certificate: pem("CERTIFICATE", certificate),
    key: privateKey.export({ type: "pkcs8", format: "pem" }),
  };
}

function der(tag, content) {
  const bytes = Buffer.from(content);
  if (bytes.length < 0x80) return Buffer.concat([Buffer.of(tag, bytes.length), bytes]);
  const length = bytes.length < 0x100 ? [0x81] : [0x82, bytes.length >> 8];
  return Buffer.concat([Buffer.of(tag, ...length, bytes.length & 0xff), bytes]);
}

function sequence(...parts) {
  return der(0x30, Buffer.concat(parts));
}

function time(text) {
  return der(0x17, Buffer.from(text));
}

function pem(label, bytes) {
  const lines = bytes.toString("base64").match(/.{1,64}/g).join("\n");
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`;
}
