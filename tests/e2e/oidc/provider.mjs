// An OpenID Connect provider: node provider.mjs PORT REDIRECT_URI. It writes `ready` when it accepts requests.
// Every user can sign in, with any password. `PUT /people/NAME` with a JSON object sets the claims about the user NAME.
import { createServer } from 'node:http'
import Provider from 'oidc-provider'

const [port, redirectUri] = process.argv.slice(2)
const claimsByName = new Map()

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id: 'svgx', client_secret: 'not a secret: a test', redirect_uris: [redirectUri] }],
  claims: { openid: ['sub'], profile: ['preferred_username', 'groups'], email: ['email', 'email_verified'] },
  cookies: { keys: ['a test'] },
  features: { devInteractions: { enabled: true } },
  findAccount: (_, name) => ({ accountId: name, claims: () => ({ sub: name, ...claimsByName.get(name) }) }),
})
const handleRequest = provider.callback()

createServer((request, response) => {
  const [, name] = /^\/people\/(\w+)$/.exec(request.url) ?? []
  if (request.method !== 'PUT' || name === undefined) {
    handleRequest(request, response)
    return
  }
  const chunks = []
  request.on('data', (chunk) => chunks.push(chunk))
  request.on('end', () => {
    claimsByName.set(name, JSON.parse(Buffer.concat(chunks)))
    response.writeHead(204).end()
  })
}).listen(Number(port), '127.0.0.1', () => console.log('ready'))
