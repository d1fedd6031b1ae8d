// Waiting for a condition: it is looked at again when something happened, never by polling.

// Looking at twenty documents after each of their updates would cost more than the updates.
const PAUSE = 10

export class Watch {
  constructor () {
    this.waits = new Set()
    this.scheduled = false
  }

  // Something happened: look again soon.
  changed = () => {
    if (this.scheduled || this.waits.size === 0) return
    this.scheduled = true
    setTimeout(() => {
      this.scheduled = false
      for (const look of this.waits) look()
    }, PAUSE)
  }

  // Resolves to what `condition` returns once that is not undefined; rejects after `timeout` seconds with `describe()`.
  until (condition, timeout, describe) {
    return new Promise((resolve, reject) => {
      const end = (settle, value) => {
        clearTimeout(timer)
        this.waits.delete(look)
        settle(value)
      }
      const look = () => {
        try {
          const found = condition()
          if (found !== undefined) end(resolve, found)
        } catch (error) {
          end(reject, error)
        }
      }
      const timer = setTimeout(
        () => end(reject, new Error(`not within ${timeout} s: ${describe()}`)), timeout * 1000)
      this.waits.add(look)
      look()
    })
  }
}
