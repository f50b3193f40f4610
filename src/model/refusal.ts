// What could not be programmed, and why: the unit of failure of architecture point 9.
import type { Family } from './family.js';

/**
 * One object that the kernel or our own check refused. The reconciler keeps everything else in force and puts a
 * closed form in the object's place: a refused chain drops, a rule that needs a refused set is refused with it.
 */
export interface Refusal {
  readonly family: Family;
  readonly kind: 'chain' | 'set' | 'route' | 'map';
  /** Chain name without layer prefix, or set id. */
  readonly object: string;
  readonly reason: string;
}
