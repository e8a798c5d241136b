// What browsers may download to run it themselves, for the operator: the base model here, each adapter on its tenant's page.
// The files are built from the base model's weights, which lie where the backend runs, so publishing is a command there.
import { useState } from 'preact/hooks'
import { type BrowserModel, modelFiles } from '../../../gpu-backend/browser/manifest.ts'
import { BrowserModelState } from '../../routes/browser-answers.ts'
import { sendEdge } from '../api/edge.ts'
import { useAnswer } from '../api/use-edge.ts'
import { linkTo } from '../router.ts'
import { useSession } from '../session.ts'
import { Badge } from '../ui/badge.tsx'
import { Button, ButtonLink } from '../ui/button.tsx'
import { CodeLine } from '../ui/code-line.tsx'
import { Confirm } from '../ui/confirm.tsx'
import { Digest } from '../ui/digest.tsx'
import { bytes, count } from '../ui/format.ts'
import { Card, Page } from '../ui/page.tsx'
import { WhenLoaded } from '../ui/states.tsx'

const PATH = '/admin/v1/browser/model'
/** What the command publishes where it is given no model. */
const EMBEDDED_NAME = 'polylora-base'
const WEIGHTS = { f32: '32-bit floats', int8: '8-bit integers', int4: '4-bit integers' }

export function BrowsersPage() {
  const { adminKey } = useSession().keys
  const loaded = useAnswer(adminKey, PATH, BrowserModelState)
  const [isWithdrawing, setWithdrawing] = useState(false)
  const withdraw = async () => {
    await sendEdge(adminKey, 'DELETE', PATH)
    await loaded.reload()
  }
  return (
    <Page
      title="In browsers"
      about="Customers can run the base model and their adapters in their own browsers. Nothing leaves the edge until you say so."
    >
      <WhenLoaded loaded={loaded}>
        {({ base, model }) => (
          <>
            <Card
              title={base.name}
              about="The base model that the backends serve."
              actions={
                <>
                  <Badge tone={model ? 'good' : 'none'}>{model ? 'Published' : 'Not published'}</Badge>
                  {model && (
                    <Button kind="danger" onClick={() => setWithdrawing(true)}>
                      Withdraw
                    </Button>
                  )}
                </>
              }
            >
              <dl class="facts">
                <dt>Fingerprint</dt>
                <dd>
                  <Digest value={base.fingerprint} />
                </dd>
                {model && <ModelFacts model={model} />}
              </dl>
              <p class="hint">
                Its files are built from the weights, so it is published{model && ' anew'} where the backend’s model
                lies, with the operator’s key in POLYLORA_ADMIN_KEY:
              </p>
              <CodeLine
                text={`npx polylora browser publish --edge ${location.origin}${base.name === EMBEDDED_NAME ? '' : ' --model PATH'}`}
                label="Copy the command that publishes"
              />
            </Card>
            <Card
              title="Adapters"
              about="Each adapter is let out, or kept in, on its tenant’s page."
              actions={<ButtonLink href={linkTo('tenants')}>Tenants</ButtonLink>}
            >
              <ul class="sentences">
                <li>
                  A tenant’s key with the scope inference downloads the base and the tenant’s own adapters, no others.
                </li>
                <li>What a browser generates is not metered: limits, prices and usage records are for the backends.</li>
                <li>A canary is not followed: browsers run the version that the name points at.</li>
                <li>
                  What was downloaded stays there. Withdrawing, taking a permission back, or revoking a key ends further
                  downloads.
                </li>
              </ul>
            </Card>
          </>
        )}
      </WhenLoaded>
      {isWithdrawing && (
        <Confirm
          title="Withdraw the base model?"
          action="Withdraw"
          onConfirm={withdraw}
          onClose={() => setWithdrawing(false)}
        >
          <p>Its files are removed here. Browsers that have them go on; others can no longer begin.</p>
        </Confirm>
      )}
    </Page>
  )
}

function ModelFacts({ model }: { readonly model: BrowserModel }) {
  const files = modelFiles(model)
  return (
    <>
      <dt>Weights</dt>
      <dd>{WEIGHTS[model.weights]}</dd>
      <dt>Context</dt>
      <dd>{count(model.context_tokens)} tokens</dd>
      <dt>Download</dt>
      <dd>
        {bytes(files.reduce((sum, file) => sum + file.bytes, 0))} in {count(files.length)} files
      </dd>
    </>
  )
}
