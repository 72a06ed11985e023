/** Who is behind a port of the switch, as a capture names it. */
export interface DeckPort {
  readonly port: number;
  /** The number of its network or uplink. */
  readonly segment: number;
  /** What it is told apart by from whoever has the port later. */
  readonly key: string;
  /** Of the interface, as `web eth0`. */
  readonly name: string;
  /** As `network front`. */
  readonly description: string;
  /** Undefined where it is nobody's. */
  readonly mac: string | undefined;
  /** Whether it is the deck's own in a network. */
  readonly isDeck: boolean;
}

/** A port that was somebody's for a time; milliseconds of the data plane's clock. */
interface Tenancy {
  readonly tenant: DeckPort;
  readonly since: number;
  /** Infinity while it still is. */
  until: number;
}

/**
 * Who was behind a port when a frame passed it. Frames come here a while later than they passed, and names later than the
 * first frames; numbers of ports are used again.
 */
export class PortNames {
  /** By port, the newest last; two at most. */
  readonly #ports = new Map<number, Tenancy[]>();
  /** The deck's own port in a network or uplink. */
  readonly #own = new Map<number, number>();

  /** All ports there are at this time. */
  replace(ports: readonly DeckPort[], now: number): void {
    const left = new Map(this.#ports);
    for (const tenant of ports) {
      left.delete(tenant.port);
      if (tenant.isDeck) this.#own.set(tenant.segment, tenant.port);
      const known = this.#ports.get(tenant.port) ?? [];
      const newest = known.at(-1);
      if (newest?.until === Number.POSITIVE_INFINITY) {
        if (newest.tenant.key === tenant.key) continue;
        newest.until = now;
      }
      // Who was there two before has no frames under way any more.
      this.#ports.set(tenant.port, [
        ...known.slice(-1),
        { tenant, since: now, until: Number.POSITIVE_INFINITY },
      ]);
    }
    for (const known of left.values()) known.at(-1)!.until = Math.min(known.at(-1)!.until, now);
  }

  /** Who was there; undefined when it is not known, or not yet. */
  at(port: number, now: number): DeckPort | undefined {
    const known = this.#ports.get(port);
    const newest = known?.at(-1);
    if (!newest || now > newest.until) return undefined;
    const before = known!.length > 1 ? known![0] : undefined;
    // Its first frames are older than what we know of it, but younger than the end of the one before.
    return before && now <= newest.since && now <= before.until ? before.tenant : newest.tenant;
  }

  /** Who has a port now, or had it last. */
  newest(port: number): DeckPort | undefined {
    return this.#ports.get(port)?.at(-1)?.tenant;
  }

  /** The deck's own port in the network or uplink of a port; that port where it is not known. */
  own(port: number): number {
    const segment = this.#ports.get(port)?.at(-1)?.tenant.segment;
    return (segment === undefined ? undefined : this.#own.get(segment)) ?? port;
  }
}
