-- The client of glm-lsp for `vim.lsp.enable('glm_lsp')`. It needs the Lua module beside it: put the whole
-- folder on the runtimepath, not this file alone. See |glm_lsp|.
local glm = require('glm_lsp')

return {
  cmd = { 'glm-lsp', 'serve' },
  root_markers = { '.git' },
  -- What this client does itself: asks for an instruction, shows explanations, asks again for what came late.
  init_options = { prompts = true, results = true, inlineReady = true },
  -- Only settings that are safe to take from a project go here (see the README); the engine, its address,
  -- its key and the model are read from your own settings.toml or the environment.
  settings = { ['glm-lsp'] = vim.empty_dict() },
  on_attach = glm.attached,
  on_exit = glm.ended,
  handlers = {
    ['glm/inlineReady'] = glm.ready,
    ['workspace/applyEdit'] = glm.edit,
  },
  commands = {
    ['glm-lsp.refactor'] = glm.refactor,
    ['glm-lsp.explain'] = glm.explain,
  },
}
