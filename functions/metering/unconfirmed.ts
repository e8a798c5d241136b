/** For a write to a meter's storage that no answer waits for: should it be lost, no more goes with it than a few seconds' tokens. */
export const UNCONFIRMED = { allowUnconfirmed: true }
