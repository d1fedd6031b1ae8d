// Waits for conditions. A condition is checked again after an event, not at an interval.

// Milliseconds from an event to the check of all conditions, because a check of many documents after each update would
// cost more than the updates.
const CHECK_DELAY = 10

export class ConditionWatcher {
  constructor () {
    this.checks = new Set()
    this.scheduled = false
  }

  // Check all conditions soon. Call this after each event that may change a condition.
  changed = () => {
    if (this.scheduled || this.checks.size === 0) return
    this.scheduled = true
    setTimeout(() => {
      this.scheduled = false
      for (const check of this.checks) check()
    }, CHECK_DELAY)
  }

  // Resolve to the result of `condition` as soon as it is not undefined. Reject after `timeout` seconds, with the text
  // of `describe()` in the error.
  until (condition, timeout, describe) {
    return new Promise((resolve, reject) => {
      const end = (settle, value) => {
        clearTimeout(timer)
        this.checks.delete(check)
        settle(value)
      }
      const check = () => {
        try {
          const result = condition()
          if (result !== undefined) end(resolve, result)
        } catch (error) {
          end(reject, error)
        }
      }
      const timer = setTimeout(
        () => end(reject, new Error(`not within ${timeout} s: ${describe()}`)), timeout * 1000)
      this.checks.add(check)
      check()
    })
  }
}
