--- `:checkhealth glm_lsp`.
local config = require('glm_lsp.config')

local M = {}

local ANSWER_MS = 5000

local function check_program(health)
  local found = vim.lsp.config[config.NAME]
  local cmd = found and found.cmd
  if type(cmd) ~= 'table' then
    return health.error("vim.lsp.config.glm_lsp has no `cmd`: is this plugin's folder on the runtimepath?")
  end
  if vim.fn.executable(cmd[1]) ~= 1 then
    return health.error(('%s is not there, or not executable.'):format(cmd[1]), {
      'Install glm-lsp and put its `bin` on the PATH of Neovim, or name it:',
      "vim.lsp.config('glm_lsp', { cmd = { '/path/to/glm-lsp', 'serve' } })",
    })
  end
  local done = vim.system({ cmd[1], '--version' }, { text = true, timeout = ANSWER_MS }):wait()
  if done.code ~= 0 then
    return health.error(('%s does not start: %s'):format(cmd[1], vim.trim(done.stderr or '')))
  end
  health.ok(('%s (%s)'):format(vim.trim(done.stdout), vim.fn.exepath(cmd[1])))
end

local function check_editor(health)
  if vim.fn.has('nvim-0.11') ~= 1 then
    return health.error('Neovim 0.11 or newer is needed.')
  end
  local version = tostring(vim.version())
  if vim.lsp.inline_completion then
    health.ok(('Neovim %s: completions are ghost text.'):format(version))
  else
    health.ok(('Neovim %s: completions stand in the menu; ghost text needs 0.12.'):format(version))
  end
  if not vim.lsp.is_enabled(config.NAME) then
    health.warn('It is not enabled.', { "Put vim.lsp.enable('glm_lsp') into your init.lua." })
  end
  for _, problem in ipairs(config.problems()) do
    health.warn(problem, { ':help glm_lsp-options' })
  end
  for _, other in ipairs(vim.lsp.get_clients({ method = 'textDocument/inlineCompletion' })) do
    if other.name ~= config.NAME then
      health.warn(('%s shows ghost text, too.'):format(other.name), { 'Neovim shows one of them at a time.' })
    end
  end
end

local function check_server(health)
  local clients = vim.lsp.get_clients({ name = config.NAME })
  if #clients == 0 then
    return health.info('No server runs. Open a file, then look again.')
  end
  for _, client in ipairs(clients) do
    local root = client.root_dir or 'no folder'
    local answer = client:request_sync('glm-lsp/status', vim.empty_dict(), ANSWER_MS)
    local status = answer and answer.result
    if not status then
      health.error(('The server of %s does not answer.'):format(root), { ':GlmRestart' })
    else
      health.ok(('%s: %d files, %d symbols (%s)'):format(root, status.files, status.symbols, client.offset_encoding))
      if type(status.engine) == 'string' then
        local where = status['local'] and 'on this machine' or 'remote'
        health.ok(('engine: %s, %s, %s'):format(status.engine, status.model, where))
      else
        health.error(status.problem, { 'glm-lsp doctor' })
      end
    end
  end
end

function M.check()
  local health = vim.health
  health.start('Neovim')
  check_editor(health)
  health.start('Program')
  check_program(health)
  health.start('Server')
  check_server(health)
end

return M
