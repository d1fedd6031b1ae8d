// A WebSocket that counts what passes, by message type of y-protocols.
import WebSocket from 'ws'

const SYNC = 0
const STEP_2 = 1
const UPDATE = 2

// The counts of one connection. `documents` are the messages that `saved` counts: sync step 2 and update.
export class Traffic {
  constructor () {
    this.received = {}
    this.documents = 0
    // The server's question was answered, so everything this client had is on its way.
    this.answered = false
    // What the server reports; null until it does.
    this.saved = null
  }

  sent (frame) {
    if (frame[0] !== SYNC) return
    if (frame[1] === STEP_2) this.answered = true
    if (frame[1] === STEP_2 || frame[1] === UPDATE) this.documents++
  }

  arrived (frame) {
    this.received[frame[0]] = (this.received[frame[0]] ?? 0) + 1
  }
}

// A WebSocket class for one client; `opened(traffic)` is called for each connection it makes.
export function countingSocket (opened, changed) {
  return class extends WebSocket {
    constructor (url, protocols) {
      super(url, protocols)
      this.traffic = new Traffic()
      opened(this.traffic)
      this.on('message', data => {
        this.traffic.arrived(new Uint8Array(data))
        changed()
      })
    }

    send (data) {
      this.traffic.sent(data)
      super.send(data)
    }
  }
}
