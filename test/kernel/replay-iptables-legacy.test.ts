import { replayMode } from './support/replay-mode.js';

replayMode('iptables-legacy');
