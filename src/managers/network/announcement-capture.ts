// Watches an interface for the announcement of a migrated machine, over a raw socket.
import { ETHERTYPE, type OpenFrameSocket } from '../../interfaces/frame-socket.js';
import type { StartCapture } from './live-migration-monitor.js';
import { isAnnouncement } from './migration-state.js';

/** A capture that ends by itself at the first announcement. */
export function createAnnouncementCapture(openSocket: OpenFrameSocket): StartCapture {
  return (interfaceName, onAnnouncement) => {
    let isOpen = true;
    const socket = openSocket({
      interfaceName,
      etherTypes: [ETHERTYPE.arp, ETHERTYPE.rarp],
      onFrame: (frame) => {
        if (isOpen && isAnnouncement(frame)) onAnnouncement();
      },
      // The interface is gone or down: the role, or the interface's return, goes on from here.
      onError: () => stop(),
    });
    const stop = (): void => {
      if (!isOpen) return;
      isOpen = false;
      socket.close();
    };
    return { stop };
  };
}
