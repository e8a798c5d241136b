// The base model that answers, and that an adapter must be made for.
import { BackendInfo } from '../../../gpu-backend/protocol.ts'
import { useAnswer } from '../api/use-edge.ts'
import { Digest } from '../ui/digest.tsx'
import { bytes, count } from '../ui/format.ts'
import { Card } from '../ui/page.tsx'
import { WhenLoaded } from '../ui/states.tsx'

export function BaseCard({ apiKey }: { readonly apiKey: string }) {
  const loaded = useAnswer(apiKey, '/v1/base', BackendInfo)
  return (
    <Card title="Base model" about="What an adapter must be made for.">
      <WhenLoaded loaded={loaded}>
        {({ base, context_tokens: context, max_rank: rank, max_delta_bytes: largest, fixed_modules: fixed }) => (
          <dl class="facts">
            <dt>Name</dt>
            <dd>{base.name}</dd>
            <dt>Fingerprint</dt>
            <dd>
              <Digest value={base.fingerprint} />
            </dd>
            <dt>Shape</dt>
            <dd>
              {base.architecture}, {count(base.layers)} layers of {count(base.hidden_size)}
            </dd>
            <dt>Context</dt>
            <dd>{count(context)} tokens</dd>
            <dt>Largest adapter</dt>
            <dd>
              Rank {count(rank)}, {bytes(largest)}
            </dd>
            {fixed.length > 0 && (
              <>
                <dt>Cannot be changed</dt>
                <dd>{fixed.join(', ')}</dd>
              </>
            )}
          </dl>
        )}
      </WhenLoaded>
    </Card>
  )
}
