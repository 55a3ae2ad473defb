--- `vim.g.glm_lsp`, read whenever it is needed: nothing has to be called.
local M = { NAME = 'glm_lsp' }

local DEFAULTS = {
  keys = { accept = '<Tab>', accept_word = '<M-Right>', accept_line = '<M-Down>', ask = '<M-Bslash>' },
  off = {}, -- filetypes without completions
  popup = true, -- Neovim 0.11: the completion in the menu, without asking for it
  preview = true, -- edits are shown as a diff first
}

--- The options in force.
function M.get()
  local given = vim.g.glm_lsp
  return vim.tbl_deep_extend('force', DEFAULTS, type(given) == 'table' and given or {})
end

--- What is wrong with `vim.g.glm_lsp`; sentences.
---@return string[]
function M.problems()
  local given = vim.g.glm_lsp
  if given == nil then
    return {}
  elseif type(given) ~= 'table' then
    return { 'vim.g.glm_lsp must be a table; the defaults stand.' }
  end
  local found = {}
  for name, value in vim.spairs(given) do
    if DEFAULTS[name] == nil then
      found[#found + 1] = ('vim.g.glm_lsp has no option `%s`.'):format(name)
    elseif type(value) ~= type(DEFAULTS[name]) then
      found[#found + 1] = ('vim.g.glm_lsp.%s must be a %s.'):format(name, type(DEFAULTS[name]))
    end
  end
  return found
end

return M
