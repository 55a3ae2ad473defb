--- A short text for the status line: what the server does at the moment, else what serves.
local config = require('glm_lsp.config')

local M = {}

local known = {} ---@type table<integer, table> what each client said last
local work = {} ---@type table<integer, table<string|integer, {title: string, message?: string, percentage?: integer}>>

local function redraw()
  vim.cmd.redrawstatus({ bang = true })
end

--- Ask the server; it answers at once.
---@param client vim.lsp.Client
---@param take? fun(status: table)
function M.refresh(client, take)
  ---@diagnostic disable-next-line: param-type-mismatch
  client:request('glm-lsp/status', vim.empty_dict(), function(problem, result)
    if not problem and result then
      known[client.id] = result
      redraw()
      if take then
        take(result)
      end
    end
  end)
end

local function on_progress(args)
  local client = vim.lsp.get_client_by_id(args.data.client_id)
  if not client or client.name ~= config.NAME then
    return
  end
  local token, value = args.data.params.token, args.data.params.value
  local mine = work[client.id] or {}
  work[client.id] = mine
  if value.kind == 'end' then
    mine[token] = nil
    M.refresh(client) -- what is indexed, and what the engine did, may be another now
  else
    mine[token] = vim.tbl_extend('force', mine[token] or {}, value)
  end
  redraw()
end

local group = vim.api.nvim_create_augroup('glm_lsp.status', { clear = true })
vim.api.nvim_create_autocmd('LspProgress', { group = group, callback = on_progress })
vim.api.nvim_create_autocmd('LspDetach', {
  group = group,
  callback = function(args)
    vim.schedule(function()
      if not vim.lsp.get_client_by_id(args.data.client_id) then
        known[args.data.client_id], work[args.data.client_id] = nil, nil
      end
    end)
  end,
})

--- For 'statusline': empty where the server is not attached. Never asks, never waits.
---@return string
function M.line()
  local client = vim.lsp.get_clients({ bufnr = 0, name = config.NAME })[1]
  if not client then
    return ''
  end
  local text
  for _, one in pairs(work[client.id] or {}) do
    text = one.title .. (one.percentage and (' %d%%'):format(one.percentage) or '')
    break
  end
  local status = known[client.id]
  if not text and not require('glm_lsp.suggest').enabled(vim.api.nvim_get_current_buf()) then
    text = 'off'
  elseif not text and status then
    -- `null` of JSON is a value in Lua.
    text = type(status.model) == 'string' and status.model or 'no engine'
  end
  return (("GLM %s"):format(text or "…"):gsub("%%", "%%%%"))
end

return M
