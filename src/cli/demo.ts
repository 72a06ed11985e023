/** The two-minute tour. */
export async function demo(): Promise<number> {
  return 0;
}
