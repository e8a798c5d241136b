// What the files of an adapter may lack, or how they are to be stored: the command line's options of the same names.
import { Check, Input, Select } from '../ui/field.tsx'
import type { Publishing } from './publishing.ts'

export interface PublishOptions {
  /** Empty: what one of our own files has, or f32. */
  readonly dtype: '' | 'f32' | 'f16'
  readonly alpha: string
  readonly scaling: string
  readonly enableLora: string
  readonly shrinkRank: string
  readonly ignoreChatTemplate: boolean
}

export const NO_OPTIONS: PublishOptions = {
  dtype: '',
  alpha: '',
  scaling: '',
  enableLora: '',
  shrinkRank: '',
  ignoreChatTemplate: false,
}

export function readOptions({
  dtype,
  alpha,
  scaling,
  enableLora,
  shrinkRank,
  ignoreChatTemplate,
}: PublishOptions): Pick<Publishing, 'dtype' | 'shrinkRank' | 'facts'> {
  return {
    dtype: dtype === '' ? undefined : dtype,
    shrinkRank: shrinkRank === '' ? undefined : Number(shrinkRank),
    facts: {
      ...(alpha === '' ? {} : { alpha: Number(alpha) }),
      ...(scaling === '' ? {} : { scaling: Number(scaling) }),
      ...(enableLora === '' ? {} : { enableLora: enableLora.split(',').map((part) => part.trim() === 'true') }),
      ...(ignoreChatTemplate ? { ignoreChatTemplate } : {}),
    },
  }
}

interface OptionFieldsProps {
  readonly options: PublishOptions
  onChange(options: PublishOptions): void
}

export function OptionFields({ options, onChange }: OptionFieldsProps) {
  const set = (change: Partial<PublishOptions>) => onChange({ ...options, ...change })
  return (
    <div class="options">
      <Input
        label="Alpha"
        type="number"
        step="any"
        value={options.alpha}
        hint="--alpha: microsoft/LoRA does not save it."
        onInput={(alpha) => set({ alpha })}
      />
      <Input
        label="Scaling"
        type="number"
        step="any"
        value={options.scaling}
        hint="--scaling: mistral-finetune and MLX, without their settings file."
        onInput={(scaling) => set({ scaling })}
      />
      <Input
        label="Parts of fused projections"
        value={options.enableLora}
        pattern="\s*(true|false)(\s*,\s*(true|false))*\s*"
        placeholder="true,false,true"
        hint="--enable-lora: microsoft/LoRA’s MergedLinear."
        onInput={(enableLora) => set({ enableLora })}
      />
      <Input
        label="Largest rank"
        type="number"
        min={1}
        step={1}
        value={options.shrinkRank}
        hint="--shrink-rank: larger ones are approximated."
        onInput={(shrinkRank) => set({ shrinkRank })}
      />
      <Select
        label="Stored as"
        value={options.dtype}
        options={{ '': 'As our own file has it, else 32 bits', f32: '32-bit floats', f16: '16-bit floats' }}
        hint="--dtype: 16 bits halve the file."
        onChange={(dtype) => set({ dtype })}
      />
      <Check
        label="Leave out its chat template"
        checked={options.ignoreChatTemplate}
        onChange={(ignoreChatTemplate) => set({ ignoreChatTemplate })}
      />
    </div>
  )
}
