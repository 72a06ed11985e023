/** For whom there is something to install. */
export const TARGETS = [
  'service',
  'docker',
  'cni',
  'netavark',
  'oci',
  'slirp4netns',
  'wireshark',
  'completion',
  'man',
] as const;
export type Target = (typeof TARGETS)[number];
