// Ids made here before anything is sent, so that sending twice stores once: UUIDv7, ordered by the order of making.

let last = 0;

export function newId(): string {
  last = Math.max(last + 1, Date.now()); // a clock set back changes no order
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID exists on HTTPS only
  for (let place = 0; place < 6; place++) bytes[place] = Math.floor(last / 2 ** (40 - 8 * place)) % 256;
  bytes[6] = 0x70 | (bytes[6]! & 0x0f);
  bytes[8] = 0x80 | (bytes[8]! & 0x3f);
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
