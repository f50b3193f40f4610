// The mock control plane in front of a real driver: all recordings in nftables mode.
import { recordingNames } from '../fixtures/recording.js';
import { mockReplays } from './support/mock-replay.js';

mockReplays('nftables', recordingNames());
