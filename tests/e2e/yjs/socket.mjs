// A WebSocket that counts messages by their y-protocols type.
import WebSocket from 'ws'

const SYNC = 0
const STEP_2 = 1
const UPDATE = 2

// The counts of one connection. `documents` counts the sent messages that `saved` counts too: sync step 2 and update.
export class Traffic {
  constructor () {
    this.received = {}
    this.documents = 0
    // True after sync step 2, which sends the server all earlier edits that it lacks.
    this.sentSyncStep2 = false
    // The server's last report of committed messages; null before its first report.
    this.saved = null
  }

  countSent (frame) {
    if (frame[0] !== SYNC) return
    if (frame[1] === STEP_2) this.sentSyncStep2 = true
    if (frame[1] === STEP_2 || frame[1] === UPDATE) this.documents++
  }

  countReceived (frame) {
    this.received[frame[0]] = (this.received[frame[0]] ?? 0) + 1
  }
}

// Return a WebSocket class for one client. The class calls `opened(traffic)` for each connection, and `changed()` for
// each received message. The first connection sends its messages `firstSendDelay` milliseconds late.
export function countingSocket (opened, changed, firstSendDelay = 0) {
  let delay = firstSendDelay
  return class extends WebSocket {
    constructor (url, protocols) {
      super(url, protocols)
      this.delay = delay
      delay = 0
      this.traffic = new Traffic()
      opened(this.traffic)
      this.on('message', data => {
        this.traffic.countReceived(new Uint8Array(data))
        changed()
      })
    }

    send (data) {
      this.traffic.countSent(data)
      if (this.delay === 0) super.send(data)
      else setTimeout(() => { if (this.readyState === this.OPEN) super.send(data) }, this.delay)
    }
  }
}
