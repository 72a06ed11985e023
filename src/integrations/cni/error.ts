/** Codes of errors (CNI specification 1.1, "Error"); from 100 on they are a plugin's own. */
export const CNI_CODES = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  io: 5,
  decoding: 6,
  invalidConfiguration: 7,
  tryAgainLater: 11,
  notAvailable: 50,
  /** A name, address, interface or port that somebody else has. */
  conflict: 100,
  permission: 101,
  /** What CHECK has found not to be as it was made. */
  changed: 102,
} as const;

export type CniCode = (typeof CNI_CODES)[keyof typeof CNI_CODES];

/** A refusal as the specification has it. */
export class CniError extends Error {
  readonly code: CniCode;
  readonly details: string;

  constructor(code: CniCode, message: string, details = '') {
    super(message);
    this.name = 'CniError';
    this.code = code;
    this.details = details;
  }
}
