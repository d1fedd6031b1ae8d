// The renewal of tokens as README.md shows it. A test compares both.
import * as encoding from 'lib0/encoding'

// `refresh` is an async function that returns a fresh access token, for example with `POST /auth/refresh`. It has to
// repeat a request that gets no answer or 5xx: after 4401, the provider stays offline if `refresh` fails.
export function keepToken (provider, refresh) {
  const renew = async () => {
    const token = await refresh()
    provider.protocols = ['svgx', `bearer.${token}`] // or, with `params: { token }`: provider.params.token = token
    return token
  }
  provider.messageHandlers[101] = async () => { // the token expires soon
    const encoder = encoding.createEncoder()
    encoding.writeVarUint(encoder, 101)
    encoding.writeVarString(encoder, await renew())
    if (provider.wsconnected) provider.ws.send(encoding.toUint8Array(encoder))
  }
  provider.on('connection-close', async event => {
    if (event?.code !== 4401) return // the token has expired
    await renew()
    await new Promise(resolve => setTimeout(resolve, 1000)) // the server may refuse this token too
    provider.connect()
  })
}
