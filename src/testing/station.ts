/** Somebody on a network, in text: `{ mac: '02:42:0a:00:00:02', ipv4: '10.0.0.2', ipv6: 'fd00::2' }`. */
export interface Station {
  mac: string;
  ipv4?: string;
  ipv6?: string;
}
