import { Rtnetlink } from './rtnetlink.ts';

/** The addresses of all interfaces of this thread's namespace, up or down: `192.0.2.7`, `fe80::1`. */
export function hostAddresses(): string[] {
  const rtnetlink = new Rtnetlink();
  try {
    return rtnetlink.addresses().map(({ address }) => address.slice(0, address.indexOf('/')));
  } finally {
    rtnetlink.close();
  }
}
